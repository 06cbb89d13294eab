"""The origins behind the router: `orders` is the sample shop's API, `tables` writes rows of any schema."""
