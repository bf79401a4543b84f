"""One file a schedule: the factor on the peak learning rate at a step, a plain function of the step."""
