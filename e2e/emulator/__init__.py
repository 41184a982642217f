"""ministack, corrected where it differs from AWS in ways that the operator's safety depends on."""
