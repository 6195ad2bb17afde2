"""Programs that put load on Redis or the product, each a process of its own, steered by lines of JSON."""
