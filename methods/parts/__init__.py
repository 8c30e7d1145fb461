"""What methods are made of; not a method itself."""
