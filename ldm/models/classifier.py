from torch import nn


class EncoderUNetModel(nn.Module):
    pass
