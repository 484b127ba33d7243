"""The step, the loop, and what they need: optimisers, devices, checkpoints, logs."""

from typing import Any

from jaxcv.devices import AXIS
from jaxcv.renamed import earlier_name
from jaxcv.train.checkpoint import CheckpointError, Checkpoints, Which
from jaxcv.train.config_file import ConfigError, read_config, write_config
from jaxcv.train.data_card import DataCard, Fingerprint
from jaxcv.train.environment import collect_environment
from jaxcv.train.evaluation import (
    collect_per_example,
    evaluate_state,
    make_evaluator,
    predict_test,
    scalars,
)
from jaxcv.train.experiment import EarlyStopping, Experiment, Keep, Runtime
from jaxcv.train.fitting import fit_to_data
from jaxcv.train.loop import train
from jaxcv.train.optimizer import (
    LAMB,
    LARS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Muon,
    Optimizer,
    RMSProp,
)
from jaxcv.train.parallel import DeviceMap
from jaxcv.train.parameter_groups import ParameterGroup
from jaxcv.train.run import Run, SetupError, open_run, open_workdir
from jaxcv.train.run_card import RunCard
from jaxcv.train.schedules import Constant, Cosine, OneCycle, Polynomial, Step
from jaxcv.train.settling import settled
from jaxcv.train.state import TrainState, chosen_variables, create_state
from jaxcv.train.step import make_eval_step, make_predict_step, make_train_step
from jaxcv.train.task import Headline, Task
from jaxcv.train.trained import TrainedModel
from jaxcv.train.training_data import TrainingData
from jaxcv.train.window import NonFiniteError

__all__ = [
    "AXIS",
    "LAMB",
    "LARS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CheckpointError",
    "Checkpoints",
    "ConfigError",
    "Constant",
    "Cosine",
    "DataCard",
    "DeviceMap",
    "EarlyStopping",
    "Experiment",
    "Fingerprint",
    "Headline",
    "Keep",
    "Lion",
    "Muon",
    "NonFiniteError",
    "OneCycle",
    "Optimizer",
    "ParameterGroup",
    "Polynomial",
    "RMSProp",
    "Run",
    "RunCard",
    "Runtime",
    "SetupError",
    "Step",
    "Task",
    "TrainState",
    "TrainedModel",
    "TrainingData",
    "Which",
    "chosen_variables",
    "collect_environment",
    "collect_per_example",
    "create_state",
    "evaluate_state",
    "fit_to_data",
    "make_eval_step",
    "make_evaluator",
    "make_predict_step",
    "make_train_step",
    "open_run",
    "open_workdir",
    "predict_test",
    "read_config",
    "scalars",
    "settled",
    "train",
    "write_config",
]

_EARLIER = {
    "collect_examples": "jaxcv.train.collect_per_example",
    "find_images": "jaxcv.predict.find_images",
}


def __getattr__(name: str) -> Any:
    return earlier_name(__name__, name, _EARLIER)
