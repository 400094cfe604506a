def as_eps(output, x_t, t, schedule, prediction):
    raise NotImplementedError
