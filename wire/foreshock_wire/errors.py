"""The one tree of errors: each says what happened, to which thing, and what to do next."""

from __future__ import annotations


class ForeshockError(Exception):
    """Base of every error raised on purpose; the command prints it without a traceback."""


class InvalidIdError(ForeshockError):
    """An id that cannot stand in a topic, a file name and a table key alike."""


class MessageError(ForeshockError):
    """A control message whose bytes are not what its topic promises."""


class BatchError(ForeshockError):
    """A telemetry batch that is truncated, damaged or of an unknown version."""


class ModelError(ForeshockError):
    """A model file that must not run; sub-classes say why."""


class NotAModelError(ModelError):
    """The bytes are not an ONNX file that Foreshock's converter wrote."""


class TruncatedModelError(NotAModelError):
    """The bytes begin like a model file and end too early."""


class DamagedModelError(ModelError):
    """A model file whose bytes are not those that the converter wrote."""


class UnknownOpsetError(ModelError):
    """The graph uses an operator set that this runtime does not know."""


class SpecTooNewError(ModelError):
    """The model was written by a newer converter than this runtime understands."""


class SpecError(ModelError):
    """The model's metadata is missing, damaged or contradicts itself."""


class ChannelMismatchError(ModelError):
    """The model reads other channels than the ones it is given."""


class SelfTestError(ModelError):
    """The model does not repeat its golden outputs on this machine."""
