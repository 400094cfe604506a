"""The errors that a user can cause. A message is one sentence: what was given, what is allowed.

LDMError
├── PresetError        an unknown, unreadable or contradictory preset
├── CheckpointError    a weight file that is broken, hostile or of another architecture
├── DownloadError      a file that could not be fetched
├── RequestError       a request field out of its range
├── MemoryBudgetError  a model or a canvas that does not fit the byte budget
└── TrainingError      a training configuration, snapshot or folder of pictures that cannot be used
"""


class LDMError(Exception):
    """Base of every error that is shown to the user as one sentence, without a traceback."""


class PresetError(LDMError):
    """A preset is unknown, unreadable or contradicts itself."""


class CheckpointError(LDMError):
    """A weight file is broken, hostile or belongs to another architecture."""


class DownloadError(LDMError):
    """A file could not be fetched."""


class RequestError(LDMError):
    """A request asks for something that is out of range or impossible."""


class MemoryBudgetError(LDMError):
    """A model or a canvas does not fit the byte budget."""


class TrainingError(LDMError):
    """A training configuration, a snapshot or a folder of pictures cannot be used."""
