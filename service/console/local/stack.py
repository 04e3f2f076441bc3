"""The embedded stack: a local AWS started detached, template.yaml and the example targets deployed to it, stopped."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigChainFactory, ConfigValueStore
from botocore.exceptions import ClientError
from botocore.session import Session as BotocoreSession

from service.app import App
from service.console import yaml_core
from service.console.local import saved_state
from service.console.outputs import settings_of
from service.errors import BatchProcessorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STACK = "batch-processor"
EXAMPLES_STACK = "batch-processor-examples"
REGION = "us-east-1"
CHECKOUT = Path(__file__).resolve().parents[3]
HOME_VARIABLE = "BATCH_PROCESSOR_HOME"
_ACCOUNT_TOOLS = "arn:aws:lambda:us-east-1:000000000000:function:"
_ACCOUNT_AGENTS = "arn:aws:states:us-east-1:000000000000:stateMachine:"
_TOOLS = ("sentiment", "echo", "tool-*")
_AGENTS = ("broadband-agent", "agent-*")
_DEPLOYED_FROM = (
    "template.yaml",
    "samconfig.toml",
    "Makefile",
    "pyproject.toml",
    "constraints.txt",
    "infra",
    "handlers",
    "service",
    "examples",
)
_NOT_DEPLOYED = {"__pycache__", "console"}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
_TELL_SECONDS = 2
_WAIT_SECONDS = 600
_STOP_SECONDS = 60
_ATTEMPTS = 4  # requests for one call: it throttles nobody, and a refused connection says that it was stopped
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine


class LocalStackFailed(BatchProcessorError):
    """The embedded stack could not be started, deployed or stopped."""


def home() -> Path:
    """Where the embedded stack keeps its data: `.batch-processor` of the checkout, or BATCH_PROCESSOR_HOME."""
    return Path(os.environ.get(HOME_VARIABLE) or CHECKOUT / ".batch-processor")


@dataclass(frozen=True)
class Embedded:
    """One embedded stack, its data under `root`."""

    root: Path

    @property
    def _state_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def log(self) -> Path:
        """What the local AWS prints."""
        return self.root / "aws.log"

    def state(self) -> dict[str, Any]:
        """Fingerprint of what is deployed, as last written."""
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state

    def _save(self, **changes: Any) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        written = self._state_file.with_suffix(".tmp")
        written.write_text(json.dumps({**self.state(), **changes}))
        written.replace(self._state_file)

    @property
    def endpoint(self) -> str:
        """Address of the local AWS."""
        return f"http://127.0.0.1:{self.owner.get('port')}"

    @property
    def owner(self) -> dict[str, Any]:
        """Process and port of the local AWS, as it wrote them itself."""
        return saved_state.owner(self.root)

    def session(self) -> Any:
        """Return a boto3 session with the embedded stack's own credentials.

        No profile, file or proxy of the user's counts.
        """
        session = _Session()
        session.set_default_client_config(Config(proxies={}))  # {}: none; None would be those of the environment
        session.set_credentials("test", "test")
        return boto3.Session(botocore_session=session, region_name=REGION)

    def running(self) -> bool:
        """Whether our own process is there: one that is busy is, however long it takes to answer."""
        return saved_state.held(self.root) and bool(self.owner)

    def _answers(self) -> bool:
        try:
            with _OPENER.open(f"{self.endpoint}/_ministack/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _standing(self) -> dict[str, Any]:
        """Return what the server says of its saving; empty when it does not answer."""
        try:
            with _OPENER.open(self.endpoint + saved_state.STANDING, timeout=2) as answer:
                standing: dict[str, Any] = json.loads(answer.read())
        except (OSError, ValueError):
            return {}
        return standing

    def unsaved(self) -> str | None:
        """Why what the server holds is not on disk, and since when; None when it is, or when it does not answer."""
        standing = self._standing()
        if not standing.get("unsaved"):
            return None
        since = time.strftime("%H:%M:%S", time.localtime(standing["since"]))
        return f"what changed since {since} is NOT SAVED and would be lost: {standing['unsaved']}"

    def start(self, tell: Callable[[str], None]) -> bool:
        """Start the local AWS if it is not running and deploy what has changed; whether anything was done."""
        self.root.mkdir(parents=True, exist_ok=True)
        with _locked(self.root / "lock"):
            started = None if saved_state.held(self.root) else self._spawn(tell)
            self._wait(tell, started)
            return self._deploy(tell) or started is not None

    def _wait(self, tell: Callable[[str], None], started: subprocess.Popen[bytes] | None) -> None:
        """Wait until the local AWS answers, as long as it lives; a busy one is never replaced."""
        began, told = time.monotonic(), False
        while not (self.running() and self._answers()):
            waited = time.monotonic() - began
            code = started.poll() if started else None
            if code == saved_state.TAKEN:
                started = None  # another start of this folder was first: its server is waited for
            elif code is not None:
                raise LocalStackFailed(f"the embedded AWS did not start; its last words are in {self.log}")
            elif started is None and not saved_state.held(self.root):
                started = self._spawn(tell)  # its owner was ended, and what saved for it has done so meanwhile
            if waited > _WAIT_SECONDS:
                raise LocalStackFailed(
                    f"the embedded AWS (process {self.owner.get('pid')}) does not answer; see {self.log}, "
                    "or `batch-processor local stop` it"
                )
            if waited > _TELL_SECONDS and not told:
                told = True
                tell(f"the embedded AWS (process {self.owner.get('pid')}) is busy: waiting for it")
            time.sleep(0.1)

    def _spawn(self, tell: Callable[[str], None]) -> subprocess.Popen[bytes]:
        port = self._port()
        tell(f"starting the embedded AWS on 127.0.0.1:{port}")
        for folder in ("state", "s3", "tmp"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for left_behind in (self.root / "tmp").glob("ministack-*"):
            _remove(left_behind)
        environment = {
            **_without_proxies(_plain_environment()),
            HOME_VARIABLE: str(self.root),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.root / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.root / "s3"),
            "TMPDIR": str(self.root / "tmp"),
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "service.console.local.server"],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal reaches the group of the command, not this one
            )

    def _port(self) -> int:
        """Return the port of last time when it is free: addresses in what was stored stay right."""
        for wanted in (self.owner.get("port") or 4566, 0):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: closed ones linger
                probe.bind(("127.0.0.1", int(wanted)))
                return int(probe.getsockname()[1])
        raise LocalStackFailed("no free port on 127.0.0.1")

    def _deploy(self, tell: Callable[[str], None]) -> bool:
        fingerprint = _fingerprint()
        if self.state().get("deployed") == fingerprint and self._complete():
            return False
        tell("building and deploying the application and the example targets")
        self._sam("template.yaml", STACK, "app", {"ToolArns": _tool_arns(), "AgentArns": _agent_arns()})
        self._sam("examples/template.yaml", EXAMPLES_STACK, "examples", {})
        self._expire_items()
        self._register_examples()
        self._save(deployed=fingerprint)
        return True

    def _sam(self, template: str, stack: str, name: str, parameters: dict[str, str]) -> None:
        """`sam build` and `sam deploy`, as for AWS."""
        sam = str(Path(sys.executable).with_name("sam"))
        built = self.root / "build" / name
        config = ["--config-file", str(CHECKOUT / "samconfig.toml")]
        self._settle(stack)
        self._clear(stack)
        self._command([sam, "build", "-t", template, "-b", str(built), "--build-in-source", *config])
        deploy = [sam, "deploy", "-t", str(built / "template.yaml"), "--stack-name", stack, "--resolve-s3", *config]
        deploy += ["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-fail-on-empty-changeset"]
        deploy += ["--region", REGION, "--s3-prefix", stack]
        if parameters:
            deploy += ["--parameter-overrides", *(f"{key}={value}" for key, value in parameters.items())]
        self._command(deploy)

    def _status(self, stack: str) -> str | None:
        client = self.session().client("cloudformation", endpoint_url=self.endpoint)
        try:
            (found,) = client.describe_stacks(StackName=stack)["Stacks"]
        except ClientError:
            return None
        return str(found["StackStatus"])

    def _complete(self) -> bool:
        """Whether what stack.json calls deployed is there: the process may have been killed before it was saved.

        CloudFormation's state is saved last, so that a stack that is there has its resources; one that lost some is
        noticed when it is loaded (service/console/local/cut_stacks.py).
        """
        return {self._status(stack) for stack in (STACK, EXAMPLES_STACK)} <= {"CREATE_COMPLETE", "UPDATE_COMPLETE"}

    def _settle(self, stack: str) -> None:
        """Wait for what a start that was cut had begun: the server goes on with it."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while (self._status(stack) or "").endswith("_IN_PROGRESS") and time.monotonic() < deadline:
            if self._status(stack) == "REVIEW_IN_PROGRESS":
                return  # a change set that nobody executes any more
            time.sleep(0.5)

    def _clear(self, stack: str) -> None:
        """Remove a stack whose first deploy was cut: CloudFormation would refuse it for ever; it has no data yet."""
        if (self._status(stack) or "").startswith(("CREATE_IN", "CREATE_FAILED", "ROLLBACK", "REVIEW", "DELETE")):
            self.session().client("cloudformation", endpoint_url=self.endpoint).delete_stack(StackName=stack)

    def _command(self, command: list[str]) -> None:
        environment = {
            **_past_proxies(_plain_environment()),
            "AWS_ENDPOINT_URL": self.endpoint,
            "BATCH_PROCESSOR_BUILD": "local",
            "BUILD_PYTHON": sys.executable,
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.3",
        }
        done = subprocess.run(  # noqa: S603 - the SAM CLI beside this Python
            command,
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            words = (done.stdout + done.stderr).strip()[-3000:]
            raise LocalStackFailed(f"`{' '.join(command[:2])}` failed for the embedded stack:\n{words}")

    def outputs(self, stack: str) -> dict[str, str]:
        """Return outputs of a deployed stack."""
        client = self.session().client("cloudformation", endpoint_url=self.endpoint)
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    def _expire_items(self) -> None:
        """Do what CloudFormation does on AWS with TimeToLiveSpecification; ministack leaves it out at create."""
        client = self.session().client("dynamodb", endpoint_url=self.endpoint)
        names = self.outputs(STACK)
        for table in (names["ResultsTable"], names["BatchesTable"]):
            status = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"]
            if status == "DISABLED":
                setting = {"AttributeName": "ttl", "Enabled": True}
                client.update_time_to_live(TableName=table, TimeToLiveSpecification=setting)

    def app(self) -> App:
        """Return the app of the stack, which is deployed or being deployed."""
        settings = settings_of(self.outputs(STACK), STACK)
        return App(settings, self.session(), endpoint_url=self.endpoint, attempts=_ATTEMPTS)

    def _register_examples(self) -> None:
        """Each example as it is now; one that was registered once stays as people have registered it since."""
        from service.store.registry import RegisteredTarget  # noqa: PLC0415 - brings PynamoDB

        registry = self.app().registry
        arns = self.outputs(EXAMPLES_STACK)
        for given in yaml_core.read((CHECKOUT / "examples" / "targets.yaml").read_text())["targets"]:
            target = RegisteredTarget(
                given["name"],
                given["tool_type"],
                arns[f"{given['resource']}Arn"],
                given["description"],
                given.get("input_schema"),
                given.get("output_schema"),
            )
            if not registry.knows(target):
                registry.register(target)

    def stop(self, tell: Callable[[str], None] = lambda _: None) -> bool:
        """Stop the local AWS so that its data are written; whether it was running.

        One that cannot write them goes on, and LocalStackFailed says why; one that does not listen is ended.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with _locked(self.root / "lock"):
            if not self.running():
                return False
            pid = int(self.owner["pid"])
            refused = self._standing().get("refused", 0)
            _signal(pid, signal.SIGTERM)
            began, told = time.monotonic(), False
            while saved_state.held(self.root):
                waited = time.monotonic() - began
                if self._standing().get("refused", 0) > refused:
                    raise LocalStackFailed(
                        f"the embedded AWS goes on running: {self.unsaved() or 'it could not save'}. "
                        f"Make room for {self.root} and stop it again; `kill -9 {pid}` ends it without"
                    )
                if waited > _STOP_SECONDS and not told:
                    told = True
                    tell(
                        f"the embedded AWS (process {pid}) did not stop in {_STOP_SECONDS} s and was ended; "
                        "what it saved before is kept: it saves within seconds of a change"
                    )
                    _signal(pid, signal.SIGKILL)  # a child of it that saves goes on, and holds the folder till then
                time.sleep(0.1)
            return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class _Session(BotocoreSession):
    """botocore's session without the user's: AWS_PROFILE, AWS_ENDPOINT_URL and the like, and configuration files."""

    def __init__(self) -> None:
        nothing = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
        super().__init__(session_vars=nothing)
        store, chains = ConfigValueStore(), ConfigChainFactory(session=self, environ={})
        for name, (config, variables, default, conversion) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
            store.set_config_provider(
                name, chains.create_config_chain(name, variables, config, default, conversion_func=conversion)
            )
        self.register_component("config_store", store)


def _tool_arns() -> str:
    return ",".join(_ACCOUNT_TOOLS + name for name in _TOOLS)


def _agent_arns() -> str:
    return ",".join(_ACCOUNT_AGENTS + name for name in _AGENTS)


def _plain_environment() -> dict[str, str]:
    """Return the environment of this process without anything of AWS.

    No profile, credential or endpoint of the user's.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _without_proxies(environment: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key.lower() not in _PROXIES}


def _past_proxies(environment: dict[str, str]) -> dict[str, str]:
    """Leave pip the user's proxy; what speaks to this machine goes past it."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY")
    none = ",".join(filter(None, ("127.0.0.1,localhost", given)))
    return {**environment, "no_proxy": none, "NO_PROXY": none}


def _fingerprint() -> str:
    """Return a digest that changes when anything that is deployed does."""
    digest = hashlib.sha256(sys.version.encode())
    for name in _DEPLOYED_FROM:
        path = CHECKOUT / name
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            if not _NOT_DEPLOYED & {*file.relative_to(CHECKOUT).parts} and file.suffix != ".csv":
                digest.update(str(file.relative_to(CHECKOUT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One start or stop at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    import shutil  # noqa: PLC0415 - rarely

    shutil.rmtree(path, ignore_errors=True)
