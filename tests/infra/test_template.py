"""What template.yaml promises: tables as the models say, each role no more and no less than its function calls."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import xform_name
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from places import ROOT
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from service.console import outputs
from service.permissions import OWN_PREFIXES
from service.request import own_tool
from service.store.tables import BatchItem, ResultItem, TargetItem

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATES = ("template.yaml", "examples/template.yaml")
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
MODELS = {"ResultsTable": ResultItem, "BatchesTable": BatchItem, "RegistryTable": TargetItem}
DATA = "${DataBucket.Arn}"


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: item["Properties"] for name, item in RESOURCES.items() if item["Type"] == kind}


TABLES = of_type("AWS::DynamoDB::Table")
FUNCTIONS = of_type("AWS::Serverless::Function")
BESIDE_THE_MACHINE = {"RegistrarFunction", "NotifierFunction", "StarterFunction", "AgentToolsFunction"}
ROLES = of_type("AWS::IAM::Role")
MACHINE = RESOURCES["BatchProcessorStateMachine"]["Properties"]
MACHINE_DEFINITION = json.loads((ROOT / MACHINE["DefinitionUri"]).read_text())
BUCKET = RESOURCES["DataBucket"]["Properties"]


def statements(role: str) -> Iterator[dict[str, Any]]:
    """The statements of a role, those under a condition too, and of policies attached to it."""
    documents = [policy["PolicyDocument"] for policy in ROLES[role]["Policies"]]
    attached = of_type("AWS::IAM::Policy").values()
    documents += [policy["PolicyDocument"] for policy in attached if {"Ref": role} in policy["Roles"]]
    for document in documents:
        for statement in document["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def where(resource: Any) -> str:
    """A Resource in one word: a wildcard, a resource of the template and what follows, or the parameter it is from."""
    if isinstance(resource, str):
        return resource
    text = json.dumps(resource)
    for parameter in ("ToolArns", "AgentArns", "SourceObjectArns", "OutputObjectArns"):
        if f'{{"Ref": "{parameter}"}}' in text:  # or what stands for it when it is empty
            of_executions = ":execution:" if ":execution:" in text else ""
            return f"{parameter}{of_executions}" + (":*" if "Fn::Split" in text else "")
    if "${ExistingRegistryTable}" in text and '"Fn::GetAtt"' in text:
        return "Registry"
    if "Fn::GetAtt" in resource:
        return ".".join(resource["Fn::GetAtt"]) if isinstance(resource["Fn::GetAtt"], list) else resource["Fn::GetAtt"]
    return str(resource.get("Ref") or resource["Fn::Sub"])


def grants(role: str) -> dict[str, set[str]]:
    """Actions by resource."""
    found: dict[str, set[str]] = {}
    for statement in statements(role):
        if statement["Effect"] == "Allow":
            for resource in listed(statement["Resource"]):
                found.setdefault(where(resource), set()).update(listed(statement["Action"]))
    return found


# --- the checkers of AWS ----------------------------------------------------------------------------------------------


def run(*command: str) -> str:
    """Runs a tool of the virtual environment as somebody without credentials would; its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {
        **kept,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
    }
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run(
        [program, *command[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("template", TEMPLATES)
def test_cfn_lint_has_nothing_to_say(template: str) -> None:
    assert run("cfn-lint", template).strip() == ""


@pytest.mark.parametrize("template", TEMPLATES)
def test_sam_validates(template: str) -> None:
    assert "is a valid SAM Template" in run("sam", "validate", "--lint", "--template-file", template)


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_tables_are_those_of_the_models(name: str) -> None:
    """Both ways: the model's own schema is what PynamoDB would create the table with."""
    table = TABLES[name]
    schema = MODELS[name]._get_schema()
    assert sorted(map(str, table["AttributeDefinitions"])) == sorted(
        str({"AttributeName": item["AttributeName"], "AttributeType": item["AttributeType"]})
        for item in schema["attribute_definitions"]
    )
    assert table["KeySchema"] == schema["key_schema"]
    assert table["BillingMode"] == MODELS[name].Meta.billing_mode == "PAY_PER_REQUEST"

    def comparable(index: dict[str, Any]) -> dict[str, Any]:
        projection = dict(index["Projection"])
        if "NonKeyAttributes" in projection:
            projection["NonKeyAttributes"] = sorted(projection["NonKeyAttributes"])
        return {"keys": index["KeySchema"], "projection": projection}

    def camel(index: dict[str, Any]) -> dict[str, Any]:
        return {"".join(part.title() for part in key.split("_")): value for key, value in index.items()}

    ours = {index["IndexName"]: comparable(index) for index in table.get("GlobalSecondaryIndexes", [])}
    theirs = [camel(index) for index in schema["global_secondary_indexes"]]
    assert ours == {index["IndexName"]: comparable(index) for index in theirs}
    assert not table.get("LocalSecondaryIndexes")


def test_the_default_names_are_those_of_the_models() -> None:
    assert TABLES.keys() == MODELS.keys()
    for name, model in MODELS.items():
        parameter = TABLES[name]["TableName"]["Ref"]
        assert TEMPLATE["Parameters"][parameter]["Default"] == model.Meta.table_name
        assert f"batch_processor_{name.removesuffix('Table').lower()}" == model.Meta.table_name


@pytest.mark.parametrize("name", MODELS)
def test_items_expire_by_the_attribute_that_the_model_has(name: str) -> None:
    has_ttl = "ttl" in MODELS[name].get_attributes()
    expected = {"AttributeName": "ttl", "Enabled": True} if has_ttl else None
    assert TABLES[name].get("TimeToLiveSpecification") == expected
    if has_ttl:
        assert MODELS[name].get_attributes()["ttl"].attr_type == "N"


@pytest.mark.parametrize("name", [*MODELS, "DataBucket"])
def test_what_was_paid_for_outlives_the_stack(name: str) -> None:
    """But not what a first deploy that failed had made: its fixed name would stand in the way of the second try
    (CloudFormation guide, "DeletionPolicy attribute": RetainExceptOnCreate)."""
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


# The longest name of each kind that is made of the stack's (service quotas; those of functions, roles and the bucket
# are made by CloudFormation to fit). A stack's own name may have 128 characters.
LONGEST = {"AWS::StepFunctions::StateMachine": 80, "AWS::Serverless::StateMachine": 80, "AWS::Logs::LogGroup": 512}
LONGEST_STACK_NAME = 80  # docs/usage.md says so


def test_the_longest_name_of_a_stack_is_the_one_that_is_said() -> None:
    rooms = {}
    for name, resource in RESOURCES.items():
        named = {
            key: value for key, value in resource["Properties"].items() if key in ("Name", "LogGroupName", "BucketName")
        }
        for value in named.values():
            text = value["Fn::Sub"] if "Fn::Sub" in value else "${" + value["Ref"] + "}"
            assert "${AWS::AccountId}" not in text
            rooms[name] = LONGEST[resource["Type"]] - len(text.replace("${AWS::StackName}", ""))
    assert min(rooms.values()) == LONGEST_STACK_NAME
    assert f"at most {LONGEST_STACK_NAME} characters" in (ROOT / "docs" / "usage.md").read_text()


# --- bucket -----------------------------------------------------------------------------------------------------------


def test_the_bucket_is_private_and_encrypted() -> None:
    assert BUCKET["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    assert BUCKET["BucketEncryption"]
    assert "AccessControl" not in BUCKET


def test_the_bucket_answers_over_tls_alone() -> None:
    (policy,) = of_type("AWS::S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert policy["Bucket"] == {"Ref": "DataBucket"}
    assert {statement[key] for key in ("Effect", "Principal", "Action")} == {"Deny", "*", "s3:*"}
    assert [where(resource) for resource in statement["Resource"]] == ["DataBucket.Arn", f"{DATA}/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_temporary_objects_expire_and_csvs_do_not() -> None:
    rules = BUCKET["LifecycleConfiguration"]["Rules"]
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    expiring = {rule.get("Prefix", ""): rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule}
    assert expiring == {prefix: {"Ref": "KeepDays"} for prefix in OWN_PREFIXES}
    assert TEMPLATE["Parameters"]["KeepDays"]["Default"] == 90
    longest_run = MACHINE_DEFINITION["TimeoutSeconds"] / 86_400
    assert TEMPLATE["Parameters"]["KeepDays"]["MinValue"] > longest_run
    (unfinished,) = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
    assert unfinished["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] > longest_run
    assert "Prefix" not in unfinished


# --- functions and the state machine ----------------------------------------------------------------------------------


def test_functions_run_on_python_313_on_arm_by_published_version() -> None:
    shared = TEMPLATE["Globals"]["Function"]
    assert (shared["Runtime"], shared["Architectures"]) == ("python3.13", ["arm64"])
    assert shared["AutoPublishAlias"]
    for function in FUNCTIONS.values():
        assert not {"Runtime", "Architectures", "AutoPublishAlias"} & function.keys()
        assert (ROOT / (function["Handler"].rpartition(".")[0].replace(".", "/") + ".py")).exists()
    arns = {name: value for name, value in MACHINE["DefinitionSubstitutions"].items() if name.endswith("FunctionArn")}
    of_machine = FUNCTIONS.keys() - BESIDE_THE_MACHINE
    assert arns == {f"{name}Arn": {"Ref": f"{name}.Version"} for name in of_machine}


def test_each_function_has_a_role_and_a_log_of_its_own() -> None:
    roles = [function["Role"]["Fn::GetAtt"] for function in FUNCTIONS.values()]
    logs = [function["LoggingConfig"]["LogGroup"]["Ref"] for function in FUNCTIONS.values()]
    assert len({str(role) for role in roles}) == len(set(logs)) == len(FUNCTIONS)
    assert not any("Policies" in function for function in FUNCTIONS.values())
    for role in ROLES.values():
        assert not role.get("ManagedPolicyArns")
    for group in of_type("AWS::Logs::LogGroup").values():
        assert group["RetentionInDays"]


def test_functions_are_given_what_their_settings_require() -> None:
    from service.settings import _REQUIRED  # noqa: PLC0415 - read here alone

    given = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert {*_REQUIRED.values(), "PARTITION"} == set(given)


def test_the_layer_with_pyarrow_is_the_aggregators_alone_and_only_when_it_is_given() -> None:
    assert TEMPLATE["Parameters"]["ParquetLayerArn"]["Default"] == ""
    assert [name for name, function in FUNCTIONS.items() if "Layers" in function] == ["ResultAggregatorFunction"]
    (layer,) = FUNCTIONS["ResultAggregatorFunction"]["Layers"]
    assert layer == {"Fn::If": ["HasParquetLayer", {"Ref": "ParquetLayerArn"}, {"Ref": "AWS::NoValue"}]}
    assert TEMPLATE["Conditions"]["HasParquetLayer"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ParquetLayerArn"}, ""]}]}


def test_another_layer_is_another_version_and_the_one_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter is not in the name that SAM gives a version: its description, which cannot change, must be."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    template = yaml_parse((ROOT / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code"
    template["Resources"]["BatchProcessorStateMachine"]["Properties"]["DefinitionUri"] = "s3://bucket/definition"
    made = transform(template, {"ParquetLayerArn": "arn:of:layer"}, SimpleNamespace(load=dict))["Resources"]
    (version,) = [
        resource
        for resource in made.values()
        if resource["Type"] == "AWS::Lambda::Version"
        and resource["Properties"]["FunctionName"] == {"Ref": "ResultAggregatorFunction"}
    ]
    assert version["Properties"]["Description"] == {"Ref": "ParquetLayerArn"}
    assert version["DeletionPolicy"] == version["UpdateReplacePolicy"] == "Retain"
    kept = {name: made[name]["Type"] for name in made if made[name].get("UpdateReplacePolicy") == "Retain"}
    beside = {"AWS::DynamoDB::Table", "AWS::S3::Bucket"}
    # of the function itself and its alias too, whose names never change: neither is ever replaced
    assert set(kept.values()) - beside == {"AWS::Lambda::Version", "AWS::Lambda::Function", "AWS::Lambda::Alias"}
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", "AWS::Lambda::Version").schema
    assert "/properties/Description" in schema["createOnlyProperties"]


@pytest.mark.parametrize("name", ["PrepareBatch", "AggregateResults", "AbandonUpload"])
def test_the_definition_tells_what_a_parameter_allows(name: str) -> None:
    """Each name that settings read, from the parameter of that name: a deploy that changes parameters alone publishes
    no version, and a version keeps the environment it was published with."""
    from service.settings import _LAYER, _PARTITION, _PATTERNS  # noqa: PLC0415 - read here alone

    allowed = MACHINE_DEFINITION["States"][name]["Parameters"]["Payload"]["allowed"]
    assert allowed.keys() == {*_PATTERNS.values(), _LAYER, _PARTITION}
    for variable, value in allowed.items():
        parameter = "".join(part.title() for part in variable.split("_"))
        assert value == "${" + parameter + "}"
        if variable != _PARTITION:
            assert parameter in TEMPLATE["Parameters"]
            assert f'{{"Ref": "{parameter}"}}' in json.dumps(MACHINE["DefinitionSubstitutions"][parameter])


def test_no_partition_and_no_foreign_account_is_written_down() -> None:
    text = (ROOT / "template.yaml").read_text()
    assert "arn:aws" not in text
    defaults = {name: parameter.get("Default") for name, parameter in TEMPLATE["Parameters"].items()}
    assert defaults["ToolArns"] == defaults["AgentArns"] == ""
    here = "${AWS::Partition}:%s:${AWS::Region}:${AWS::AccountId}:%s"
    for parameter, own in (
        ("ToolArns", ("lambda", "function:tool-*")),
        ("AgentArns", ("states", "stateMachine:agent-*")),
    ):
        condition, given, otherwise = MACHINE["DefinitionSubstitutions"][parameter]["Fn::If"]
        assert (condition, otherwise["Fn::Sub"]) == (f"Has{parameter}", f"arn:{here % own}")
        assert given == {"Fn::Join": [",", {"Ref": parameter}]}
        assert TEMPLATE["Conditions"][condition] == {
            "Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": parameter}]}, ""]}]
        }


def test_the_machine_logs_nothing_and_is_traced() -> None:
    """At every level but OFF Step Functions logs the error and the cause of what failed, also without execution data,
    and the cause of a failed agent holds its input: a row."""
    assert MACHINE["Type"] == "STANDARD"
    assert "Logging" not in MACHINE
    assert MACHINE["Tracing"] == {"Enabled": True}


def test_the_function_that_stores_what_is_paid_for_can_have_concurrency_of_its_own() -> None:
    reserved = FUNCTIONS["OutputWriterFunction"]["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["HasWriterConcurrency", {"Ref": "WriterConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert TEMPLATE["Parameters"]["WriterConcurrency"]["Default"] == 0
    assert [name for name, function in FUNCTIONS.items() if "ReservedConcurrentExecutions" in function] == [
        "OutputWriterFunction"
    ]


def test_a_batch_that_ends_unseen_is_closed() -> None:
    rule = of_type("AWS::Events::Rule")["BatchEnded"]
    pattern = rule["EventPattern"]
    assert pattern["source"] == ["aws.states"]
    assert pattern["detail-type"] == ["Step Functions Execution Status Change"]
    assert set(pattern["detail"]["status"]) == {"FAILED", "ABORTED", "TIMED_OUT"}
    (arn,) = pattern["detail"]["stateMachineArn"]
    assert arn["Fn::Sub"].endswith(":stateMachine:${" + MACHINE["Name"]["Ref"] + "}")
    (target,) = rule["Targets"]
    assert where(target["Arn"]) == "ResultAggregatorFunction.Arn"
    permission = of_type("AWS::Lambda::Permission")["BatchEndedPermission"]
    assert permission["FunctionName"] == {"Ref": "ResultAggregatorFunction"}
    assert where(permission["SourceArn"]) == "BatchEnded.Arn"


def test_outputs_that_the_command_line_reads_are_there() -> None:
    given = {name for name, one in TEMPLATE["Outputs"].items() if "Condition" not in one}
    assert set(outputs._NEEDED) == given - {"OutputWriterFunction"}  # for people


# --- permissions ------------------------------------------------------------------------------------------------------

# Statements that name no resource, each with its reason.
WITHOUT_RESOURCE = {
    "xray:": "X-Ray's actions have no resource types (Service Authorization Reference, AWS X-Ray)",
}


@pytest.mark.parametrize("role", ROLES)
def test_no_wildcard_resource_without_a_reason(role: str) -> None:
    for statement in statements(role):
        actions = listed(statement["Action"])
        assert not [action for action in actions if "*" in action]
        assert "NotAction" not in statement
        assert "NotResource" not in statement
        if "*" in [where(resource) for resource in listed(statement["Resource"])]:
            prefixes = {action.partition(":")[0] + ":" for action in actions}
            assert prefixes <= WITHOUT_RESOURCE.keys()
            assert statement["Sid"] == "SendTraces"


def test_the_reasons_are_needed() -> None:
    wildcards = [
        statement["Sid"]
        for role in ROLES
        for statement in statements(role)
        if "*" in [where(resource) for resource in listed(statement["Resource"])]
    ]
    assert set(wildcards) == {"SendTraces"}


# What the functions' code asks of AWS, as botocore or PynamoDB names it, and the action that allows it. HeadObject is
# s3:GetObject; every step of a multipart upload but its abort and its listing is s3:PutObject (S3 guide, "Multipart
# upload API and permissions"). Whoever adds a call adds it here and to the roles below.
HERE = "arn:${AWS::Partition}:%s:${AWS::Region}:${AWS::AccountId}:%s"
ACTIONS = {
    "get_item": "dynamodb:GetItem",
    "put_item": "dynamodb:PutItem",
    "batch_get_item": "dynamodb:BatchGetItem",
    "update_item": "dynamodb:UpdateItem",
    "query": "dynamodb:Query",
    "start_execution": "states:StartExecution",
    "list_map_runs": "states:ListMapRuns",
    "update_map_run": "states:UpdateMapRun",
    "put_events": "events:PutEvents",
    "publish": "sns:Publish",
    "delete_item": "dynamodb:DeleteItem",
    "describe_table": "dynamodb:DescribeTable",
    "PynamoDB get": "dynamodb:GetItem",
    "PynamoDB save": "dynamodb:PutItem",
    "PynamoDB update": "dynamodb:UpdateItem",
    "PynamoDB query": "dynamodb:Query",
    "PynamoDB scan": "dynamodb:Scan",
    "head_object": "s3:GetObject",
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_parts": "s3:ListMultipartUploadParts",
    "get_function_configuration": "lambda:GetFunctionConfiguration",
    "describe_state_machine": "states:DescribeStateMachine",
    "describe_execution": "states:DescribeExecution",
    "stop_execution": "states:StopExecution",
}
# Asked for by no call: without it S3 answers 403, not 404, for an object that is not there (S3 guide, GetObject).
OF_A_STREAM = {f"dynamodb:{action}" for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")}
BESIDE = {"s3:ListBucket"} | OF_A_STREAM | {"kms:Decrypt", "kms:GenerateDataKey"}  # S3 calls KMS for who calls S3
SERVICE = ROOT / "service"
OF_FUNCTIONS = [  # the console, and the readings that it alone asks for, have the user's own rights
    path
    for path in sorted(SERVICE.rglob("*.py"))
    if SERVICE / "console" not in path.parents and path != SERVICE / "store" / "queries.py"
]
CLIENTS = {
    "dynamodb": "dynamodb",
    "connection": "dynamodb",
    "s3": "s3",
    "stepfunctions": "stepfunctions",
    "lambda_client": "lambda",
}
CLIENTS |= {"events": "events", "sns": "sns"}
OPERATIONS = {
    name: {
        xform_name(operation)
        for operation in boto3.Session().client(client, region_name="us-east-1").meta.service_model.operation_names
    }
    for name, client in CLIENTS.items()
}
MODEL_METHODS = {"save", "get", "query", "scan", "update", "delete", "batch_get", "batch_write", "count", "refresh"}


def receiver(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return receiver(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "?"


def calls_of(module: Path) -> set[str]:
    """Operations that a module calls on a client, and methods that it calls on a PynamoDB model, index or item."""
    text = module.read_text()
    models = {"BatchItem", "TargetItem", "ResultItem", "listing_index", "status_index", "timestamp_index"}
    if re.search(r"^from service.store.tables import", text, re.MULTILINE):
        models |= {"record", "item"}
    found = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        by, method = receiver(node.func.value).lstrip("_"), node.func.attr
        if method == "get_paginator" and isinstance(node.args[0], ast.Constant):
            found.add(str(node.args[0].value))
        elif method in OPERATIONS.get(by, ()):
            found.add(method)
        elif by in models and method in MODEL_METHODS:
            found.add(f"PynamoDB {method}")
    return found


def test_the_calls_are_those_of_the_code() -> None:
    assert set().union(*map(calls_of, OF_FUNCTIONS)) == ACTIONS.keys()


def test_the_roles_together_allow_what_is_called() -> None:
    allowed = set().union(*(actions for role in EXPECTED.values() for actions in role.values()))
    assert allowed == set(ACTIONS.values()) | BESIDE


LOGS_OF = {"PrepareBatchRole": "PrepareBatchLogs", "InputMapperRole": "InputMapperLogs"} | {
    "OutputWriterRole": "OutputWriterLogs",
    "ResultAggregatorRole": "ResultAggregatorLogs",
    "RegistrarRole": "RegistrarLogs",
    "NotifierRole": "NotifierLogs",
    "StarterRole": "StarterLogs",
    "AgentToolsRole": "AgentToolsLogs",
}
# By role: resource → actions, of what its handler calls.
EXPECTED: dict[str, dict[str, set[str]]] = {
    "PrepareBatchRole": {
        f"{DATA}/*": {"s3:GetObject"},  # objects.find_source, bodies.read
        "SourceObjectArns": {"s3:GetObject"},
        "KmsKeyArns": {"kms:Decrypt"},
        "DataBucket.Arn": {"s3:ListBucket"},
        f"{DATA}/batches/*": {"s3:PutObject"},  # prepare._write
        # Records.get and Plans.load of a rerun, Records.create and Plans.save, Records.chunks (Absence), Records.update
        "BatchesTable.Arn": {f"dynamodb:{action}" for action in ("GetItem", "PutItem", "Query", "UpdateItem")},
        "ResultsTable.Arn": {"dynamodb:Query"},  # PageReader.pages (selection)
        "${ResultsTable.Arn}/index/status-index": {"dynamodb:Query"},  # ResultStore.failed
        "Registry": {"dynamodb:Query", "dynamodb:Scan"},  # Registry.find, Registry.names
        "ToolArns": {"lambda:GetFunctionConfiguration"},
        "ToolArns:*": {"lambda:GetFunctionConfiguration"},
        "AgentArns": {"states:DescribeStateMachine"},  # unqualified for versions and aliases too
    },
    "InputMapperRole": {
        f"{DATA}/*": {"s3:GetObject"},  # bodies.read
        "SourceObjectArns": {"s3:GetObject"},
        "KmsKeyArns": {"kms:Decrypt"},
        "DataBucket.Arn": {"s3:ListBucket"},  # a deleted source is told from a forbidden one
        "BatchesTable.Arn": {"dynamodb:GetItem", "dynamodb:UpdateItem"},  # Plans.load, stopped; add_to_tally, stop
        # ResultStore.of_run; INVALID_INPUT; ResultStore.none_succeeded
        "ResultsTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:Query"},
    },
    "OutputWriterRole": {
        "KmsKeyArns": {"kms:Decrypt"},  # of the source that it reads again
        "ResultsTable.Arn": {"dynamodb:PutItem", "dynamodb:Query"},  # ResultStore.none_succeeded
        # Plans.load, Plans.stopped; Plans.save_chunk; Plans.add_to_tally, Plans.stop
        "BatchesTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        f"{DATA}/outputs/*": {"s3:PutObject"},
        f"{DATA}/*": {"s3:GetObject"},  # rows.row_at: rows that are too long to stand beside an output
        "SourceObjectArns": {"s3:GetObject"},
        "DataBucket.Arn": {"s3:ListBucket"},
        "AgentArns:execution::*": {"states:DescribeExecution", "states:StopExecution"},
        HERE % ("states", "execution:${AWS::StackName}:*"): {"states:ListMapRuns"},
        HERE % ("states", "mapRun:${AWS::StackName}/*"): {"states:UpdateMapRun"},
    },
    "ResultAggregatorRole": {
        "ResultsTable.Arn": {"dynamodb:Query"},  # ResultStore.pages
        "BatchesTable.Arn": {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"},
        f"{DATA}/*": {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"},
        "SourceObjectArns": {"s3:GetObject"},
        "KmsKeyArns": {"kms:Decrypt", "kms:GenerateDataKey"},
        # MultipartUpload; files.following, Files.complete and Files.abort
        "OutputObjectArns": {
            f"s3:{action}"
            for action in ("PutObject", "AbortMultipartUpload", "ListMultipartUploadParts", "GetObject", "DeleteObject")
        },
        f"{DATA}/*-????.parquet": {"s3:DeleteObject"},  # columns.file_name: never an export's first file
    },
    "AgentToolsRole": {
        "BatchProcessorStateMachine": {"states:StartExecution"},
        "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:${AWS::StackName}:*": {
            "states:DescribeExecution"
        },
        "BatchesTable.Arn": {"dynamodb:GetItem", "dynamodb:Query"},  # Records.get, Records.chunks
    },
    "StarterRole": {
        f"{DATA}/*": {"s3:GetObject"},  # HeadObject of source and order, bodies.opened
        "SourceObjectArns": {"s3:GetObject"},
        "KmsKeyArns": {"kms:Decrypt"},
        "DataBucket.Arn": {"s3:ListBucket"},  # one of the two that is not there yet is told from a forbidden one
        "BatchProcessorStateMachine": {"states:StartExecution"},
    },
    "NotifierRole": {
        "${BatchesTable.Arn}/stream/*": OF_A_STREAM,  # by Lambda, for the function
        "BatchesTable.Arn": {"dynamodb:GetItem", "dynamodb:Query"},  # Records.get, Records.chunks
        "ResultsTable.Arn": {"dynamodb:Query"},  # chunk_lines
        f"{DATA}/batches/*": {"s3:GetObject"},  # of the manifest
        f"{DATA}/stream/*": {"s3:PutObject"},
        "TopicArn": {"sns:Publish"},
        "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/${EventBusName}": {"events:PutEvents"},
    },
    # Registry.amend; Registry.remove, which looks at the table's key
    "RegistrarRole": {
        "Registry": {f"dynamodb:{action}" for action in ("Query", "PutItem", "DeleteItem", "DescribeTable")}
    },
}


@pytest.mark.parametrize("role", EXPECTED)
def test_a_function_may_do_what_it_calls_and_no_more(role: str) -> None:
    expected = {
        **EXPECTED[role],
        # GetAtt Arn of a log group ends in ":*": it covers the group's streams as it is
        f"{LOGS_OF[role]}.Arn": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "*": {"xray:PutTraceSegments", "xray:PutTelemetryRecords"},
    }
    assert grants(role) == expected


@pytest.mark.parametrize("role", EXPECTED)
def test_who_reads_sources_or_writes_outputs_may_use_their_keys(role: str) -> None:
    """S3 user guide, "Protecting data using SSE-KMS": Decrypt to read; both to write in parts."""
    granted = grants(role)
    needed = {"kms:Decrypt"} if "SourceObjectArns" in granted else set()
    needed |= {"kms:Decrypt", "kms:GenerateDataKey"} if "OutputObjectArns" in granted else set()
    assert granted.get("KmsKeyArns", set()) == needed


def test_roles_are_all_looked_at() -> None:
    assert ROLES.keys() == EXPECTED.keys() | {"BatchProcessorRole"}
    for role in ROLES:
        sids = [statement["Sid"] for statement in statements(role)]
        assert len(set(sids)) == len(sids)


def test_a_csv_never_takes_the_place_of_what_a_batch_is_made_of() -> None:
    (refused,) = [statement for statement in statements("ResultAggregatorRole") if statement["Effect"] == "Deny"]
    assert set(refused["Action"]) == {"s3:PutObject", "s3:DeleteObject"}
    assert {where(resource) for resource in refused["Resource"]} == {f"{DATA}/{prefix}*" for prefix in OWN_PREFIXES}


def test_the_machine_may_do_what_its_states_call_and_no_more() -> None:
    """Step Functions guide: "IAM policies for Lambda", "… nested executions", "… Distributed Map states"."""
    here = HERE
    execution = here % ("states", "execution:${AWS::StackName}")
    own = {f"${{{name}.Arn}}:*": {"lambda:InvokeFunction"} for name in FUNCTIONS.keys() - BESIDE_THE_MACHINE}
    named = grants("BatchProcessorRole")
    anywhere = named.pop("*")
    assert {action.partition(":")[0] for action in anywhere} == {"xray"}
    assert named == {
        **own,
        "ToolArns": {"lambda:InvokeFunction"},
        "ToolArns:*": {"lambda:InvokeFunction"},
        "AgentArns": {"states:StartExecution", "states:StartSyncExecution"},
        "AgentArns:execution::*": {"states:DescribeExecution", "states:StopExecution"},
        here % ("events", "rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"): {
            "events:PutTargets",
            "events:PutRule",
            "events:DescribeRule",
        },
        f"{DATA}/batches/*": {
            "s3:GetObject",
            "s3:PutObject",
            "s3:ListMultipartUploadParts",
            "s3:AbortMultipartUpload",
        },
        "BatchProcessorStateMachine": {"states:StartExecution"},
        f"{execution}:*": {"states:DescribeExecution", "states:StopExecution"},
        **{
            f"{execution}/{MACHINE_DEFINITION['States'][name]['Label']}:*": {
                "states:DescribeExecution",
                "states:StopExecution",
            }
            for name in ("ProcessRows", "ProcessRowsInExpress")
        },
    }


@pytest.mark.parametrize(
    ("sid", "arns", "expected"),
    [
        (
            "FetchAnAgentsOutput",
            ["arn:aws:states:eu-west-1:1:stateMachine:a", "arn:aws:states:*:*:stateMachine:agent-*"],
            ["arn:aws:states:eu-west-1:1:execution:a:*", "arn:aws:states:*:*:execution:agent-*:*"],
        ),
        ("StopALateAgent", ["arn:aws:states:*:*:stateMachine:a"], ["arn:aws:states:*:*:execution:a:*"]),
        ("WaitForAgents", ["arn:aws:states:*:*:stateMachine:a"], ["arn:aws:states:*:*:execution:a:*"]),
        (
            "CallToolsByVersionOrAlias",
            ["arn:aws:lambda:eu-west-1:1:function:a", "arn:aws:lambda:*:*:function:tool-*"],
            ["arn:aws:lambda:eu-west-1:1:function:a:*", "arn:aws:lambda:*:*:function:tool-*:*"],
        ),
        ("LookAtToolsByVersionOrAlias", ["arn:aws:lambda:*:*:function:a"], ["arn:aws:lambda:*:*:function:a:*"]),
    ],
)
def test_patterns_of_targets_become_those_of_what_is_called(sid: str, arns: list[str], expected: list[str]) -> None:
    (statement,) = [item for role in ROLES for item in statements(role) if item["Sid"] == sid]
    parameter = "ToolArns" if "Tool" in sid else "AgentArns"
    assert evaluate(statement["Resource"], {parameter: arns}) == expected


def evaluate(value: Any, parameters: dict[str, Any]) -> Any:
    """CloudFormation's Ref, Join, Split and Sub with a map, of constants and parameters."""
    if isinstance(value, list):
        return [evaluate(item, parameters) for item in value]
    if not isinstance(value, dict):
        return value
    ((function, argument),) = value.items()
    if function == "Fn::If":  # the parameter is given
        return evaluate(argument[1], parameters)
    if function == "Ref":
        return parameters[argument]
    if function == "Fn::Sub":
        text, names = argument
        return re.sub(r"\$\{(\w+)\}", lambda found: evaluate(names[found[1]], parameters), text)
    separator, rest = argument[0], evaluate(argument[1], parameters)
    return separator.join(rest) if function == "Fn::Join" else rest.split(separator)


# --- the registry -----------------------------------------------------------------------------------------------------


def test_an_existing_registry_takes_the_place_of_the_stacks_own() -> None:
    """Whoever names the table names it by the same choice; with an existing one, none is made."""
    assert TEMPLATE["Resources"]["RegistryTable"]["Condition"] == "OwnsRegistry"
    assert TEMPLATE["Conditions"]["OwnsRegistry"] == {"Fn::Equals": [{"Ref": "ExistingRegistryTable"}, ""]}
    name = {"Fn::If": ["OwnsRegistry", {"Ref": "RegistryTable"}, {"Ref": "ExistingRegistryTable"}]}
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["REGISTRY_TABLE"] == name
    assert TEMPLATE["Outputs"]["RegistryTable"]["Value"] == name
    references = [line for line in (ROOT / "template.yaml").read_text().splitlines() if "RegistryTable" in line]
    bare = [line for line in references if line.strip().endswith("!Ref RegistryTable")]
    assert bare == []


def test_another_version_registers_itself_anew() -> None:
    registration = TEMPLATE["Resources"]["Registration"]["Properties"]
    assert registration["ServiceToken"] == {"Ref": "RegistrarFunction.Alias"}
    assert registration["Description"] == {"Ref": "RegistrarFunction.Version"}
    assert registration["ResourceArn"] == {"Ref": "BatchProcessorStateMachine"}
    assert re.fullmatch(TEMPLATE["Parameters"]["RegisteredName"]["AllowedPattern"], own_tool.NAME)
    assert TEMPLATE["Parameters"]["RegisteredName"]["Default"] == own_tool.NAME


# --- batches that start by themselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "inbox/", "a/b-c_d/", "../x/", "batches2/"])
def test_a_prefix_that_may_be_an_inbox(prefix: str) -> None:
    assert re.fullmatch(TEMPLATE["Parameters"]["InboxPrefix"]["AllowedPattern"], prefix)


@pytest.mark.parametrize("prefix", ["/", "inbox", "results/", "uploads/x/", "stream/", "two words/"])
def test_a_prefix_that_holds_the_stacks_own_objects_or_none_is_no_inbox(prefix: str) -> None:
    """A batch whose results lie there would start the next one."""
    pattern = TEMPLATE["Parameters"]["InboxPrefix"]["AllowedPattern"]
    assert not re.fullmatch(pattern, prefix)
    assert all(not re.fullmatch(pattern, own) for own in (*OWN_PREFIXES, "results/"))


@pytest.mark.parametrize("name", ["FilePut", "Scheduled"])
def test_what_starts_batches_may_call_the_starter(name: str) -> None:
    rule, permission = of_type("AWS::Events::Rule")[name], of_type("AWS::Lambda::Permission")[f"{name}Permission"]
    (target,) = rule["Targets"]
    assert where(target["Arn"]) == "StarterFunction.Arn"
    assert permission["FunctionName"] == {"Ref": "StarterFunction"}
    assert where(permission["SourceArn"]) == f"{name}.Arn"
    conditions = {TEMPLATE["Resources"][one]["Condition"] for one in (name, f"{name}Permission")}
    assert conditions == {"HasInbox" if name == "FilePut" else "HasSchedule"}
