"""The assets, a file a verb. Groups are the verbs; each asset is one stage of `oracle_lib.stages`."""
