"""Measurements in a process of their own, and a description of the machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

CPUINFO = Path("/proc/cpuinfo")
Given, Made = ParamSpec("Given"), TypeVar("Made")


def alone(function: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
    """Call a function in a new process, so that memory, threads and caches are not shared."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def machine() -> str:
    """Describe processor, usable cores, versions of libraries and present load in one line."""
    libraries = ["torch"] + ["diffusers"] * (importlib.util.find_spec("diffusers") is not None)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in libraries]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"load {psutil.getloadavg()[0]:.1f} at the start"  # that of `os` is not everywhere
    return ", ".join([_processor(), f"{cores} cores", *versions, load])


def _processor() -> str:
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    names += [platform.processor(), platform.machine()]
    return next(filter(None, names), "a processor without a name")
