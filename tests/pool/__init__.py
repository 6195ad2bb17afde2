"""The warm pool on a real Redis and a real engine."""
