"""`topout cost --list`."""


def list_models() -> None:
    """Print every model that has a name, with its sizes."""
    from rich.console import Console

    from topout.models.architectures.read import find_architecture
    from topout.models.known import countable_names
    from topout.report.cost.known_models_table import known_models_table
    from topout.verbs.report_cost import costed_model

    models = [costed_model(find_architecture(name)) for name in countable_names()]
    by_name = {model.name: model for model in models}  # some have a second name
    Console().print(known_models_table(list(by_name.values())))
