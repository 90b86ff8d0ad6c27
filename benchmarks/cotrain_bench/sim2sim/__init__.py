"""Sim-and-sim co-training: a policy learns a task in one domain, helped by demonstrations from another.

    gaps        how the target differs from the source        tasks       what is to be done, one row of data each
    world       one episode: commands in, keypoints out       cameras     keypoints as two cameras see them
    demos       scripted expert demonstrations, cached        gates       where the expert is good enough
    policies    any policy, by its factory                    policy      the suite's own
    training    the user's loop, with CoTrain                 rollouts    all episodes at once, one policy call for all
    cell        one trained policy, evaluated and measured    measures    where the domains lie in its features
    comparison  methods side by side, one seed                studies     published findings, many seeds, a verdict
    images      the same episodes, in pictures                nut_assembly  robosuite's task, in its own environment

`cotrain bench sim2sim --help` runs it.
"""
