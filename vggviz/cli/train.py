"""`vggviz train`: train a network on pictures with labels, or its attention without."""

from __future__ import annotations

import errno
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tqdm import tqdm
from typer import Option

from vggviz.cli.console import (
    CLASSES_HELP,
    WEIGHTS_HELP,
    fail,
    or_fail,
    parse_image_sizes,
    print_classes,
    print_line,
    print_pictures,
    print_unreadable,
    split_list,
)
from vggviz.cli.network import Device, NetworkOptions, takes_network
from vggviz.texts import visible

START_HELP = "What to start from: none for a fresh VGG19-BN, or " + WEIGHTS_HELP.replace(
    "random; ", ""
)


@takes_network("adapter", "multi_label")
def train(
    data: Annotated[Path, Option(help="Folder of class folders, or Tiny ImageNet; or a zip.")],
    out: Annotated[Path, Option(help="The .safetensors file to write.")],
    attention: Annotated[str, Option(help="none, or one of: {attention}.")] = "cbam",
    weights: Annotated[str, Option(help=START_HELP)] = "none",
    network: NetworkOptions = NetworkOptions(),
    unlabelled: Annotated[
        bool,
        Option(
            help="Use no labels: any folder of pictures. Train only attention, to give the answers "
            "that the weights give without it."
        ),
    ] = False,
    price: Annotated[
        float | None,
        Option(min=0, help="With --unlabelled, what features that pass cost: 6; of a gate 8."),
    ] = None,
    freeze_backbone: Annotated[
        bool, Option(help="Train only attention, γ, norms and the last layer: a small file.")
    ] = False,
    whole_head: Annotated[
        bool, Option(help="With --freeze-backbone: all of the head, 239 MB in full-size VGG19.")
    ] = False,
    stages: Annotated[
        str | None,
        Option(help="Where attention is: block4,block5; module paths of a --network."),
    ] = None,
    blend: Annotated[str | None, Option(help="residual or replace.")] = None,
    train_from: Annotated[
        str | None, Option(help="Train this stage and those after it only, such as block4.")
    ] = None,
    classes: Annotated[str | None, Option(help=CLASSES_HELP)] = None,
    width: Annotated[float, Option(help="Width multiplier of a fresh network.")] = 0.5,
    epochs: Annotated[int | None, Option(min=1, help="24; 10 from weights.")] = None,
    image_sizes: Annotated[
        str | None, Option(help="Sides in pixels, one after another: 32,48,64; the weights' own.")
    ] = None,
    batch: Annotated[
        int | None, Option(min=2, help="64, or an eighth of the pictures if that is less.")
    ] = None,
    lr: Annotated[float | None, Option(help="Peak learning rate: 0.05; 0.01 from weights.")] = None,
    attention_lr: Annotated[
        float | None, Option(help="Times the learning rate, for attention: 5; 1 with --unlabelled.")
    ] = None,
    contrast: Annotated[
        float, Option(help="Weight of the infomax penalty: attention must differ between pictures.")
    ] = 0.0,
    counterfactual: Annotated[
        float, Option(min=0, help="Weight of the loss that attention must beat its own mean.")
    ] = 0.0,
    min_scale: Annotated[
        float, Option(min=0.05, max=1, help="Smallest part of a picture's area in a crop.")
    ] = 0.35,
    zoom_out: Annotated[
        float, Option(min=0, max=1, help="Probability that a picture is shrunk and moved.")
    ] = 0.0,
    views: Annotated[
        int, Option(min=0, help="Augmented views whose constant features are stored; 0: none.")
    ] = 4,
    teacher: Annotated[
        Path | None, Option(help="Soft labels to distil: safetensors with 'logits' (n, K).")
    ] = None,
    distill_weight: Annotated[float, Option(help="Weight of the soft labels in the loss.")] = 0.5,
    temperature: Annotated[float, Option(help="Temperature of the soft labels.")] = 2.0,
    seed: Annotated[int, Option()] = 0,
    resume: Annotated[bool, Option(help="Resume a run that was stopped.")] = False,
    cache: Annotated[Path | None, Option(help="Folder of stored views for other runs.")] = None,
    workers: Annotated[
        int | None, Option(min=0, help="Processes that read and augment; by default by the cores.")
    ] = None,
    strict: Annotated[bool, Option(help="Stop at an unreadable picture.")] = False,
    device: Device = "auto",
) -> None:
    """Train a network with attention on pictures. Needs the extra 'train'."""
    try:
        from accelerate import PartialState

        from vggviz.training.run import NetworkChoice, run_training
    except ModuleNotFoundError as error:
        fail(f"training needs {error.name}: pip install 'vggviz[train]'")
    from vggviz import load_attention
    from vggviz.networks import is_network_name
    from vggviz.platform.device import choose_device
    from vggviz.training import Progress, TrainConfig, TrainError
    from vggviz.training.terms import TERMS, Terms
    from vggviz.weights import read_card

    if whole_head and not freeze_backbone:
        fail(
            "--whole-head goes with --freeze-backbone: without it all of the head is trained anyway"
        )
    name, options = network.resolve(weights)
    fresh = name == "none"
    if unlabelled and (attention == "none" or classes or teacher or freeze_backbone or train_from):
        fail(
            "--unlabelled trains attention only and keeps all classes: it goes with --attention, "
            "and without --classes, --teacher, --freeze-backbone and --train-from"
        )
    if price is not None and not unlabelled:
        fail("--price goes with --unlabelled")
    terms = TERMS.get(attention, Terms())
    if price is not None:
        terms = replace(terms, price=price)
    sizes = parse_image_sizes(image_sizes or ("32,48,64" if fresh else ""))
    config = TrainConfig(
        epochs=epochs or (24 if fresh else 10),
        image_sizes=sizes,
        batch=batch or 0,
        lr=lr or (0.05 if fresh else 0.01),
        attention_lr=attention_lr or (1.0 if unlabelled else 5.0),
        contrast=contrast,
        counterfactual=counterfactual,
        min_scale=min_scale,
        zoom_out=zoom_out,
        distill_weight=distill_weight if teacher else 0.0,
        temperature=temperature,
        freeze_backbone=freeze_backbone,
        whole_head=whole_head,
        train_from=train_from,
        views=views,
        unlabelled=terms if unlabelled else None,
        seed=seed,
    )
    measured = "agreement" if unlabelled else "validation"
    on_data = print_pictures if unlabelled else print_classes
    on_cpu = or_fail(choose_device, device).type == "cpu"
    # Other processes of `accelerate launch` print nothing.
    main = PartialState(cpu=on_cpu).is_main_process
    bar = tqdm(unit="step", disable=not (main and sys.stderr.isatty()))

    def report(progress: Progress) -> None:
        bar.total, bar.n = progress.steps, progress.step
        bar.set_postfix_str(
            f"epoch {progress.epoch + 1}/{config.epochs} {progress.size}px "
            f"loss {progress.loss:.3f} accuracy {progress.accuracy:.1%} "
            f"{progress.images_per_second:.0f} images/s"
        )
        if progress.validation is not None and main:
            print_line(f"epoch {progress.epoch + 1}: {measured} {progress.validation:.1%}")

    try:
        accuracy = run_training(
            data,
            out,
            config,
            NetworkChoice(
                weights=name,
                attention=or_fail(load_attention, attention),
                stages=split_list(stages) if stages else None,
                blend=blend,
                width=width,
                options=options,
            ),
            classes=split_list(classes) if classes else None,
            teacher=teacher,
            resume=resume,
            facts={"command": _command()},
            cache=cache,
            workers=workers,
            on_data=on_data if main else lambda *_: None,
            report=report,
            unreadable=None if strict else print_unreadable,
        )
    except OSError as error:
        if error.errno == errno.ENOSPC:
            fail(f"no space left on the disk for {out}: what was there before is unharmed")
        fail(str(error))
    except (TrainError, ValueError) as error:
        fail(str(error))
    finally:
        bar.close()
    if main:
        count = len(read_card(out, foreign=True).labels)
        top5 = f", {accuracy['top5']:.1%} (top-5)" if "top5" in accuracy else ""
        size = out.stat().st_size
        print_line(
            f"{out}: {measured} {accuracy['top1']:.1%} (top-1 of {count} classes){top5}, "
            + (f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB")
        )
        if unlabelled:
            print_line("agreement is with the answers of the network without attention")
        if unlabelled and (name.startswith("imagenet") or is_network_name(name)):
            print_line(
                "not measured by vggviz's authors on these weights: judge it on boxes with "
                "`vggviz evaluate --metrics localisation`"
            )
        if is_network_name(name):
            print_line(
                f"show it with --adapter {shlex.quote(str(out))} beside --network and its other "
                "options in vggviz explain, evaluate and serve"
            )
        else:
            print_line(f"vggviz serve --weights {shlex.quote(str(out))}")


def _command() -> str:
    """The command line without the folders in its paths."""
    typed = [word.rsplit("/", 1)[-1] if "/" in word else word for word in sys.argv[1:]]
    return visible(" ".join(["vggviz", *typed]))
