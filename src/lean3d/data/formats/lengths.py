"""Units of length as files spell them."""

__all__ = ["millimetres"]

MILLIMETRES = {"pm": 1e-9, "å": 1e-7, "nm": 1e-6, "um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1e3}
MILLIMETRES |= {"picometer": 1e-9, "angstrom": 1e-7, "nanometer": 1e-6, "micrometer": 1e-3}
MILLIMETRES |= {"micron": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1e3}
MILLIMETRES |= {"in": 25.4, "inch": 25.4, "inche": 25.4}


def millimetres(unit: object) -> float | None:
    """Return the millimetres in a unit such as "µm", "micron" or "nanometers"; None if unknown."""
    name = str(unit).strip().lower()
    # Fiji writes a micrometre by the number of its letter; there are two such letters
    for letter in ("\\u00b5", "\\u03bc", "\u00b5", "\u03bc"):
        name = name.replace(letter, "u")
    name = name.replace("metre", "meter")
    return MILLIMETRES.get(name, MILLIMETRES.get(name.removesuffix("s")))
