"""The page that a browser shows at `/` of the REST port: what is live, since when, by whom, and a place to try it."""
