"""Published numbers and claims, beside what the records say."""
