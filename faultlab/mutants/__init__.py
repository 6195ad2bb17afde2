"""Named one-line mutations of the product, each with the tests that must notice it."""
