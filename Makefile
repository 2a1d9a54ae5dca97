# The recipes are in tools/do, so that they also work without make.
PROFILE ?= quick
export PROFILE WORKERS ARGS PYTHON

.PHONY: help env test replicate smoke docs readme lock clean
help env test replicate smoke docs readme lock clean:
	@sh tools/do $@
.DEFAULT_GOAL := help
