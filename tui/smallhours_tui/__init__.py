"""The terminal dashboard of smallhours."""
