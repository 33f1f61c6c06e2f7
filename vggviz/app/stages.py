"""The stages that the page offers."""

from vggviz.networks.vgg import VGG

STAGES = VGG.stages
