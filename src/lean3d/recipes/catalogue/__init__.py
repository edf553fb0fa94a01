"""The recipes, one subject a file; every file here is imported when a recipe is looked up."""
