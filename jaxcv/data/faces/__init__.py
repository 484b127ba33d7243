"""Faces: people as data sets, InsightFace's record files, and pairs for verification."""

from jaxcv.data.faces.identities import (
    DisjointIdentities,
    FrequentIdentities,
    IdentityView,
    ImagesPerIdentity,
    People,
)
from jaxcv.data.faces.pairs_file import read_pairs
from jaxcv.data.faces.plain_pickle import read_plain_pickle
from jaxcv.data.faces.recordio import RecordIO
from jaxcv.data.faces.verification import VerificationPairs, read_verification_bin

__all__ = [
    "DisjointIdentities",
    "FrequentIdentities",
    "IdentityView",
    "ImagesPerIdentity",
    "People",
    "RecordIO",
    "VerificationPairs",
    "read_pairs",
    "read_plain_pickle",
    "read_verification_bin",
]
