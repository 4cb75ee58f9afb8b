"""What pyproject.toml cannot say: the optional module in C, without which hashlib solves."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "pow.puzzles.native",
            ["pow/puzzles/native.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
