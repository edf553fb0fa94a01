"""PlaneCycle (arXiv:2603.04165) beside the other ways of going from 2D to 3D."""
