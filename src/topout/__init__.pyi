__version__: str

from .errors import TopoutError as TopoutError
from .gemm.request import GemmRequest as GemmRequest
from .verbs.run_request import RunRequest as RunRequest
from .ladder.request import ClimbRequest as ClimbRequest
from .models.load import (
    load_decoder as load_decoder,
    load_encoder as load_encoder,
)
from .models.source import (
    resolve_encoder as resolve_encoder,
    resolve_model as resolve_model,
    resolve_source as resolve_source,
)
from .models.trainable import load_trainable as load_trainable
from .profiling.request import ProfileRequest as ProfileRequest
from .quantization.native_layers import swap_linears as swap_linears
from .records import (
    Ceilings as Ceilings,
    Climb as Climb,
    ClimbForecast as ClimbForecast,
    CostReport as CostReport,
    GemmReport as GemmReport,
    GenerateReport as GenerateReport,
    Hardware as Hardware,
    Machine as Machine,
    MachineReport as MachineReport,
    ProfileReport as ProfileReport,
    RunReport as RunReport,
    TraceDiff as TraceDiff,
    TraceReport as TraceReport,
    TraceRuns as TraceRuns,
    TrainReport as TrainReport,
    read as read,
    schema as schema,
    write as write,
)
from .rungs.rung import Rung as Rung
from .train.plan import TrainRequest as TrainRequest
from .verbs.accelerate import accelerate as accelerate
from .verbs.check_count import check_count as check_count
from .verbs.climb import (
    climb as climb,
    resume as resume,
)
from .verbs.compare_gemms import compare_gemms as compare_gemms
from .verbs.cost_request import CostRequest as CostRequest
from .verbs.generate import generate as generate
from .verbs.forecast_climb import forecast_climb as forecast_climb
from .verbs.list_layers import list_layers as list_layers
from .verbs.load import load as load
from .verbs.load_pass import load_pass as load_pass
from .verbs.profile_callable import profile as profile
from .verbs.profile_model import profile_model as profile_model
from .verbs.report_cost import report_cost as report_cost
from .verbs.report_machine import (
    report_machine as report_machine,
    save_machine as save_machine,
)
from .verbs.run_model import run_model as run_model
from .verbs.trace import (
    compare_runs as compare_runs,
    diff_traces as diff_traces,
    report_trace as report_trace,
)
from .verbs.train_model import train_model as train_model
from .verbs.work_example import work_example as work_example
from .winner.loaded import LoadedModel as LoadedModel
from .winner.request import (
    GenerateRequest as GenerateRequest,
    LoadRequest as LoadRequest,
)
from .winner.stream import (
    Generation as Generation,
    Stream as Stream,
)
