"""The pipelines: trained generators made into something that takes and gives pictures."""
