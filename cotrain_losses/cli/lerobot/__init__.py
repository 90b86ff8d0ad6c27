"""`cotrain lerobot-train`: LeRobot's own training script on two or more datasets, mixed by a method; `cotrain export`.

    lerobot-train's function          replaced by
    make_train_eval_datasets          all domains as one dataset, of the features they share    sources, fit, joined
    EpisodeAwareSampler               batches of the exact ratio, in LeRobot's order of frames  frames
    make_optimizer_and_scheduler      the same, once the method is installed in the policy      attach, reports
    save_checkpoint                   the same, and the method beside the policy                files

LeRobot is imported where it is used.
"""
