"""A user's mistakes with the training commands: one sentence that helps, nothing left behind."""

import pytest

from tests.cli.mistakes import check_mistake, read_table, write_configs

# The words of the command => what the message must hold.
MISTAKES = """
fit => fit needs --config FILE
fit --config none.yaml => vae_digits.yaml
fit --config=none.yaml => vae_digits.yaml
fit --config no_run => no_run
fit --config broken_fit.yaml => broken_fit.yaml is no YAML
fit --config number_fit.yaml => expected a config with keys such as model and data
fit --config class_3.yaml => expected class_path to be module.Class in class_3.yaml, model
fit --config arguments_3.yaml => expected init_args to be a mapping in arguments_3.yaml, data
fit --config pictures_3.yaml => expected a mapping of options at pictures, got 3
fit --config key_none.yaml => expected names for keys in key_none.yaml
fit --config bomb_fit.yaml => expected at most 100,000 values, aliases written out
fit --config latin.yaml => latin.yaml is no YAML: expected text in UTF-8
fit --config huge.yaml => this needs more memory than there is
fit --config overflow.yaml => too large: choose a smaller number
FIT --ckpt_path text.ckpt => expected tensors for weights
FIT --ckpt_path number.ckpt => expected tensors for weights
fit --config typo.yaml => 'latent_dims' is not accepted
fit --config top_typo.yaml => 'trainer.max_epoch'
fit --config wrong_type.yaml => latent_dim
fit --config wrong_class.yaml => VAETrainer
FIT --trainer.max_epoch 3 => --trainer.max_epoch
FIT --model.init_args.colour 3 => colour
FIT --trainer.max_epochs many => trainer.max_epochs
FIT --trainer.max_epochs => --trainer.max_epochs
FIT quickly => quickly
fit --config => --config
FIT --ckpt_path last => found no last.ckpt under checkpoints/vae
FIT --ckpt_path none.ckpt => expected --ckpt_path last, a .ckpt file or a run folder, got none.ckpt
FIT --ckpt_path garbage.ckpt => garbage.ckpt is damaged
FIT --ckpt_path evil.ckpt => evil.ckpt is damaged
FIT --ckpt_path other.ckpt => was not written by latentkit
FIT --ckpt_path no_run => got no_run
validate --config vae.yaml => add --ckpt_path last
predict --config vae.yaml --ckpt_path last => found no last.ckpt
GAN --trainer.gradient_clip_val 1 => trainer.gradient_clip_val
GAN --trainer.accumulate_grad_batches 2 => trainer.accumulate_grad_batches
GAN --trainer.max_steps 10 => counts the steps of both
GAN --trainer.precision 16-mixed => bf16-mixed on a CPU
FIT --trainer.accelerator abacus => abacus
FIT --data.init_args.size 16 => expected images of shape (1, 8, 8), the model's, got (1, 16, 16)
FIT --seed_everything -1 => --seed_everything from 0
FIT --data.init_args.batch_size 0 => batch_size of 1 or more, got 0
FIT --model.init_args.lr -1 => learning rate: -1
FIT --model.init_args.model.init_args.latent_dim 0 => outputs of 1 or more, got 0
GAN --model.init_args.model.init_args.latent_dim 0 => inputs of 1 or more, got 0
FIT --health.every -1 => expected health.every and health.grace of 0 or more
FIT --quality.every -1 => expected quality.every of 0 or more
FIT --quality.features encoder => changes during the training
FIT --quality.every 1 --quality.features nonsense => expected features encoder, classifier
FIT --quality.every 1 --quality.features inception => expected torchvision's Inception v3 weights at
FIT --health.count 3 => health.count of 16 or more
FIT --trainer.callbacks pytorch_lightning.callbacks.EMAWeightAveraging => weight averaging callbacks
"""


@pytest.mark.parametrize(("words", "fragment"), read_table(MISTAKES))
def test_a_mistake_gives_one_clear_line_and_leaves_nothing(typed, place, words, fragment):
    check_mistake(typed, place, words, fragment)


def test_a_unions_error_says_only_what_was_wanted(typed, place):
    """Trap 14: jsonargparse lists every subtype, with the key in the middle."""
    write_configs(place)
    done = typed("fit", "--config", "vae.yaml", "--trainer.max_epochs", "many")
    assert done.err == (
        'latentkit: error: Parser key "trainer.max_epochs": Expected a int but got many\n'
    )
    done = typed("fit", "--config", "typo.yaml")
    assert "Union" not in done.err
    assert "Option 'latent_dims' is not accepted" in done.err
    assert len(done.err) < 300
