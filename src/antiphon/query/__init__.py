"""Room `query` (imports `knowledge`, `domains`, `views` and below): typed reads, and what is kept between them."""
