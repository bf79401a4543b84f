"""A study as one page that people look at, and its pictures as files for papers; drawn from results/ and the store."""
