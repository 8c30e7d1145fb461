"""What is measured: metrics, calibration, surface distances. Without torch."""
