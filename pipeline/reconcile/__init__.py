"""What the registry wants live, what is live, and closing the difference."""
