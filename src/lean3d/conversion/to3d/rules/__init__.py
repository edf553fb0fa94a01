"""The 3D form of each torch concept, as a module and as a function; one concept a file."""
