"""The tests, a package by name: others that lie beside the packages of an environment have one called so, too."""
