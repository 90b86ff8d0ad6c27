"""Sim-and-sim co-training: a policy learns a Meta-World task in one domain, helped by demonstrations from another.

    gaps      how the target differs from the source          world     one episode: commands in, keypoints out
    demos     scripted expert demonstrations, cached          policy    an action-chunk flow-matching policy
    training  the user's loop, with CoTrain                   rollouts  all episodes at once, one policy call for all
    study     the cells of a run, and what is made of them    figures   pictures of success, rollouts and features

`cotrain bench sim2sim --help` runs it.
"""
