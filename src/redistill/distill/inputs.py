"""What a method can be given, by the name of a positional parameter; the words that say which shapes it takes.

`check` refuses a use that does not fit them. The parameters are:

    student_logits, teacher_logits   (B, C); C = 1 for a regression; of a segmentation, a row is a pixel
    student_losses                   what a detector's parts say of themselves in training, by name
    all_teacher_logits               (B, C) each, of every teacher of the experiment in the order of their names
    labels                           (B,) int64, -1 where there is none; or float, NaN where there is none
    index                            (B,) int64, which example of the stage's data each one is
    mask                             (B, T) int64, 1 at tokens and 0 at padding; of texts alone
    student_hidden, teacher_hidden   one tensor a tap, in one of the shapes below
    teacher_head                     the linear layer that ends the teacher; not trained
    student_head                     the linear layer that ends the student
    own                              the module that `build_own` of the method's file makes: what it learns or remembers
    views                            how many rows each example has: 4 where a stage has `rotations`, which follow one
                                     another, else 1; who does not ask for it is given the first of each
    share                            the share of the stage's steps that are done, in [0, 1]
    generator                        a generator of random numbers, the same for a step however often it is run
"""

from typing import TypeAlias

from torch import Tensor

Anything: TypeAlias = list[Tensor]  # (B, ...) each
FeatureMaps: TypeAlias = list[Tensor]  # (B, C, H, W) each
HiddenStates: TypeAlias = list[Tensor]  # (B, T, H) each
Attention: TypeAlias = list[Tensor]  # (B, A, T, T) each
Pooled: TypeAlias = list[Tensor]  # (B, D) each
Shape: TypeAlias = tuple[int, ...]  # of a tap's tensor, without the batch
