"""The private servers and images that the tests run against."""
