"""Data sets of persons, or faces, by the names of their published layouts."""

from lean3d.data.people_sets.registry import PeopleSet, list_people_sets, load_people, people_set

__all__ = ["PeopleSet", "list_people_sets", "load_people", "people_set"]
