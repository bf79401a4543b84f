"""Configuration as data: parsing, schema, composition and checks. Nothing in here executes what it reads."""
