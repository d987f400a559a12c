"""A user's mistakes with the verbs: exit code 2, one sentence that helps, nothing left behind."""

import pytest
import torch
from PIL import Image

from tests.cli.mistakes import check_mistake, read_table

# The words of the command => what the message must hold.
MISTAKES = """
train VAE => expected one of fit, validate
sample VAE --colour red => --colour red
interpolate VAE ENDS --step 3 => --step 3
sample => required: MODEL
interpolate VAE --to item:1 => required: --from
sample VAE AE => unrecognized arguments: ae.safetensors
sample none.safetensors => a run folder, a .ckpt, package.module:factory or a shipped model
sample truncated.safetensors => truncated.safetensors is damaged
sample empty.safetensors => empty.safetensors is damaged
sample pickle.safetensors => pickle.safetensors is damaged
sample foreign.safetensors => was not written by latentkit
sample model.bin => ending in .safetensors or .ckpt, got model.bin
sample garbage.ckpt => garbage.ckpt is damaged
sample evil.ckpt => evil.ckpt is damaged or no safe checkpoint
sample other.ckpt => was not written by latentkit
sample number.ckpt => expected tensors for weights
sample claims.safetensors => it holds no tensor of the size
sample shapeless.safetensors => arguments do not fit latentkit.models.vae.VAE
sample nested.safetensors => nested.safetensors has damaged metadata
sample no_run => expected model.safetensors or last.ckpt in the run folder no_run
sample no_such_module:make => expected package.module:factory
sample factories:make => has no attribute 'make'
sample factories:integer => `encode` and/or `decode`, got int
sample factories:number => to be a function
sample factories:decoder => has no prior: this needs a model with prior: an object with sample
sample factories: => expected package.module:factory
reconstruct DCGAN => dcgan.safetensors has no encode
sample AE => ae.safetensors has no prior: give --sampler gmm, two-stage or empirical, which
sample DCGAN --sampler gmm => dcgan.safetensors has no encode
sample VAE --sampler flow => 'gmm', 'two-stage', 'empirical'
sample AE --sampler gmm --components 0 => --components of 1 or more, got 0
sample AE --sampler gmm --components 99999 => latents and reg above 0, got 99999
sample AE --sampler empirical --components 3 => --components with --sampler gmm alone, got empirical
sample VAE --bandwidth 0.1 => --bandwidth with --sampler empirical alone, got prior
sample AE --sampler empirical --bandwidth -1 => a bandwidth of 0 or more, got -1.0
sample homeless.safetensors --sampler gmm => give --data
sample VAE --truncation 0 => --truncation above 0 for a Gaussian prior, got 0
sample VAE --truncation nan => Got value: nan
sample VAE --truncation 1 --cutoff 1 => --cutoff is for a style decoder
sample AE --truncation 1 => has no prior
sample AE --sampler gmm --truncation 1 => expected --truncation with --sampler prior alone, got gmm
sample VAE --truncation 1 --bandwidth 1 => --bandwidth with --sampler empirical alone, got prior
invert factories:encoder => has no decode
invert factories:decoder --data small.npz => has no encode and no prior
invert VAE --images item:99999 => item:99999 is outside the 300 test images
invert VAE --images seed:3 => seed:3 is no image: expected an image file or item:N
invert VAE --images picture.png => picture.png is no readable image
invert VAE --images item:x => after the colon, got item:x
invert factories:linear --images picture.png => does not say what image size it takes
invert VAE --count 0 => --count of 1 or more, got 0
invert VAE --steps -1 => --steps of 0 or more, got -1
invert VAE --starts 0 => --starts of 1 or more, got 0
invert VAE --reference -1 => --reference of 0 or more, got -1
invert VAE --prior-weight -1 => prior_weight and feature_weight of 0 or more, got -1.0
invert VAE --features nonsense => encoder, classifier, inception or package.module:callable
invert DCGAN --features encoder => has no encode
invert homeless.safetensors => give --data
edit VAE => required: --directions
edit VAE --directions none.safetensors => no directions file at none.safetensors
edit VAE --directions AE => write one with `latentkit directions`
edit VAE --directions nameless.safetensors => names, method, fingerprint and space to be texts
edit VAE --directions nan.safetensors => expected finite vectors
edit VAE --directions AE --steps 1000000000000 => --steps of 10,000,000 or less, got 1000000000000
edit VAE --directions AE --steps -1 => --steps of 0 or more, got -1
edit VAE --directions AE --strengths x => strengths
edit factories:encoder --directions AE => has no decode
interpolate factories:encoder ENDS => has no decode
interpolate AE ENDS --method matched => has no prior
interpolate VAE ENDS --method spline => 'lerp', 'slerp', 'matched'
interpolate AE ENDS --method lerp matched => has no prior
interpolate VAE ENDS --method => expected at least one argument
interpolate VAE ENDS --curve spline --method slerp => --method lerp or matched with --curve spline
interpolate VAE ENDS --curve catmull-rom --method matched => --method lerp with --curve catmull-rom
interpolate VAE ENDS --curve circle => 'piecewise', 'spline', 'catmull-rom'
interpolate VAE ENDS --loop maybe => loop
interpolate VAE ENDS --class-part switch => with classes in its prior
interpolate CLUSTERGAN ENDS --method slerp --class-part switch => is for --method matched
interpolate CLUSTERGAN --from ones14.npy --to item:0 => 0 or more with sum 1
interpolate factories:linear ENDS --data small.npz --method matched => has no prior
interpolate factories:numb ENDS --data small.npz --method geodesic => no gradient passes
interpolate VAE ENDS --out walk.webm => end in .png or .svg or .pdf or .gif or .mp4, got walk.webm
interpolate VAE ENDS --steps 1 => --steps of 2 or more, got 1
interpolate VAE ENDS --steps abc => steps
interpolate VAE ENDS --steps 2.5 => Got value: 2.5
sample VAE --count 0 => --count of 1 or more, got 0
sample VAE --columns 0 => --columns of 1 or more, got 0
sample VAE --seed x => Got value: x
cluster VAE --seed -1 => expected --seed from 0 to 4294967295, got -1
WALK seed:x => a number of 0 or more after the colon, got seed:x
WALK seed:-1 => a number of 0 or more after the colon, got seed:-1
WALK seed:99999999999999999999999 => after the colon, got seed:999
WALK item:99999 => outside the 300 test images
WALK item:-1 => got item:-1
WALK cluster:99 => outside the 10 clusters
interpolate CLUSTERGAN --from cluster:99 --to item:0 => outside the 10 clusters
WALK nonsense => a .npy latent, seed:N, item:N or cluster:N
WALK picture.png => picture.png is no readable image
WALK long.npy => expected (6,) in long.npy, got shape (7,)
WALK texts.npy => latent of real numbers
WALK objects.npy => objects.npy is no array of numbers
WALK nan.npy => expected finite numbers in nan.npy
WALK scalar.npy => latent of real numbers
interpolate DCGAN ENDS => dcgan.safetensors has no encode
interpolate VAE ENDS --through nonsense => nonsense is no endpoint
encode VAE --data none.npz => no data at none.npz: expected a YAML, a folder of images or an .npz
encode of_mnist.safetensors --data mnist5k.yaml => which holds all images of MNIST5k
encode VAE --data corrupt.npz => expected an .npz of plain arrays, got corrupt.npz
encode VAE --data hollow.npz => expected the array 'x' in hollow.npz, got none
encode VAE --data truncated.npz => expected an .npz of plain arrays, got truncated.npz
encode VAE --data no_images.npz => expected the array 'x' in no_images.npz, got z
encode VAE --data objects.npz => without objects
encode VAE --data empty_folder => in empty_folder, got none
encode VAE --data unknown_class.yaml => has no attribute 'Figures'
encode VAE --data no_class.yaml => expected a data module (class_path, init_args) in no_class.yaml
encode VAE --data broken.yaml => broken.yaml is no YAML
encode VAE --data wrong_argument.yaml => 'sizes' is not accepted
encode VAE --data size_0.yaml => latentkit.data.digits.Digits
encode VAE --data size_text.yaml => size
encode VAE --data number_class.yaml => expected class_path to be module.Class, got 3
encode VAE --data calls.yaml => expected numpy.save to be an ImageData
encode VAE --data list_arguments.yaml => expected init_args to be a mapping, got [8]
encode VAE --data deep.yaml => expected at most 50 levels
encode VAE --data bomb.yaml => expected at most 100,000 values, aliases written out
encode VAE --data itself.yaml => *a holds itself
encode VAE --data latin.yaml => latin.yaml is no YAML: expected text in UTF-8
encode VAE --data cut_header.npy => expected a file of plain NumPy arrays, got cut_header.npy
encode VAE --data claims.npy => expected a file of plain NumPy arrays, got claims.npy
encode VAE --data claims.npz => expected a file of plain NumPy arrays, got claims.npz
WALK cut_header.npy => cut_header.npy is no array of numbers
WALK bomb.png => bomb.png is no readable image
directions VAE --method region --region bomb.png => bomb.png is no readable image
encode VAE --data not_data.yaml => expected builtins.dict to be an ImageData
encode VAE --data other_shape.yaml => expected images of shape (1, 16, 16)
encode VAE --data a_file => expected a data module (class_path, init_args) in a_file
encode VAE --data picture.png => in picture.png
encode other_size.safetensors => expected images of shape (1, 8, 8)
encode homeless.safetensors => give --data
encode factories:encoder => give --data
encode VAE --projector a_file => expected --projector to be a folder
encode VAE --split all => 'train', 'val', 'test'
encode VAE --limit 0 => --limit of 1 or more, got 0
encode VAE --limit -5 => --limit of 1 or more, got -5
mix VAE --layers decoder.stage.0 => the nearest are ['decoder.stages.0'
mix VAE --layers coarse => expected the name of a layer, got 'coarse'
mix VAE --layers decoder.stem decoder.stages => expected the name of one layer
mix VAE --layers encoder.stages.0 => was not reached
mix VAE --layers decoder.stem.0 --region left => choose another layer
mix VAE --region middle => 'left', 'right', 'top', 'bottom'
mix VAE --rows 0 => --rows of 1 or more, got 0
mix AE --data small.npz => expected 10 test images, one a row and one a column, got 6
mix factories:decoder => has no prior
explain VAE --method hires-cam --layer stages.9 => stages.1'
explain factories:linear --method grad-cam --layer x --data small.npz => leave out --layer
explain VAE --layer stages.0 => --layer is for class activation maps such as hires-cam, got pattern
explain VAE --method natural --layer stages.0 => such as hires-cam, got natural
explain VAE --score unit:0 --method pattern => --method pattern is for directions: take hires-cam
explain VAE --score unit:0 --method natural => --method natural is for directions
explain VAE --method score-cam => 'pattern', 'natural', 'hires-cam'
explain factories:numb --data small.npz => no derivative passes through decode
explain factories:encoder --data small.npz => has no decode
bench directions --model factories:numb --data small.npz => no network that can be looked into
bench => required: WHAT
bench latents => directions
bench directions --images 1 => --images of 2 or more, got 1
bench directions --steps 0 => --steps of 1 or more, got 0
bench directions --model none.safetensors => no model at none.safetensors
bench directions --model VAE factories:linear --data small.npz => no network that can be looked into
bench directions --model factories:encoder --data small.npz => has no decode
bench directions --out bench.jpg => to be a folder or end in
explain VAE --score unit:0 --layer stages.9 => stages.1'
explain VAE --score unit:999 => unit:999 is outside the 6 latent units
explain VAE --score nonsense => expected real, fake, unit:N, cluster:N, decoder, decoder:REGION
explain VAE --score unit:x => got unit:x
explain VAE --score unit: => expected real, fake, unit:N, cluster:N, decoder, decoder:REGION
explain VAE --score decoder: => unknown score decoder:: expected real, fake
explain VAE --score decoder:middle => middle is no region: expected left
explain CLUSTERGAN --score decoder => take an autoencoder or a VAE
explain DCGAN --score reconstruction => has no encoder to explain: it has discriminator
explain VAE --score real => has no discriminator to explain: it has encoder
explain VAE --score cluster:1 => needs a model with clusters of its own
explain CLUSTERGAN --score cluster:99 => outside the 10 clusters
explain DCGAN --score unit:1 => has no encoder to explain: it has discriminator
explain VAE --step 0 => expected --step above 0
explain VAE --step nan => nan
explain VAE --images 0 => --images of 1 or more
explain VAE --directions none.safetensors => no directions file at none.safetensors
explain VAE --directions AE => write one with `latentkit directions`
explain VAE --directions AE --score unit:0 => --directions or --score, got both
directions VAE ATTRIBUTE --end label:1 => needs --start and --end
directions VAE --start label:1 => --start and --end are for --method attribute
directions VAE --estimator svm => like --estimator, got pca
directions VAE --confound label => --confound is for --estimator balanced, got centroid
directions factories:numb --method jacobian --count 1 --data small.npz => no derivative
directions factories:numb --method region --region left --count 1 --data small.npz => no derivative
directions VAE --normalize true => --normalize is for --method sefa, got pca
directions VAE --region left => --region is for --method region, and it needs one, got pca
directions VAE --method region => --region is for --method region, and it needs one, got region
directions VAE --method region --region middle => middle is no region: expected left, right
directions VAE --method region --region picture.png => picture.png is no readable image
directions VAE --method region --region left --count 7 => k <= 6 directions
directions VAE --conditions none.safetensors => no directions file at none.safetensors
directions VAE --conditions AE => write one with `latentkit directions`
directions factories:linear --method sefa --data small.npz => got 0 such layers
directions VAE ATTRIBUTE --start name:a --end label:1 => the images have no names
directions VAE ATTRIBUTE --start attribute:a=1 --end label:1 => no attribute 'a': it has none
directions VAE ATTRIBUTE --start attribute:a --end label:1 => expected attribute:NAME=NUMBER
directions VAE ATTRIBUTE --start attribute:a=.. --end label:1 => expected attribute:NAME=NUMBER
directions VAE ATTRIBUTE ZERO_ONE --estimator paired => needs two groups by name
directions VAE ATTRIBUTE ZERO_ONE --estimator balanced => with none in common
directions VAE ATTRIBUTE ZERO_ONE --estimator balanced --confound x => expected --confound label
directions VAE ATTRIBUTE --start broken_images --end label:1 --estimator median => median
directions VAE ATTRIBUTE --start label:77 --end label:1 => label:77 has no image
directions VAE ATTRIBUTE --start label:x --end label:1 => got label:x
directions VAE ATTRIBUTE --start label:1 --end label:1 => groups without a common image
directions VAE ATTRIBUTE --start empty_folder --end label:1 => in empty_folder
directions VAE ATTRIBUTE --start broken_images --end label:1 => a.png is no readable image
directions VAE ATTRIBUTE --start nonsense --end label:1 => expected label:CLASS, name:TEXT
directions DCGAN ATTRIBUTE --start label:1 --end label:2 => has no encode
directions VAE --count 99 => got k=99
directions VAE --count 99 --method axes => expected --count up to 6 axes, got 99
directions DCGAN => use --method sefa, jacobian or axes
directions VAE --limit 1 => of 1 latents
cluster VAE --data small.npz --clusters 50 => clusters of 6 latents, got k=50
cluster VAE --clusters 0 => --clusters of 1 or more, got 0
cluster VAE --clusters -3 => --clusters of 1 or more, got -3
cluster VAE --method encoder => has no cluster
cluster VAE --clusters some => typing.Literal[
cluster VAE --method hdbscan --clusters 3 => finds the number of clusters itself
cluster CLUSTERGAN --method encoder --clusters auto => finds the number of clusters itself
cluster VAE --method hdbscan --limit 1 => since a cluster of 1 is noise
cluster VAE --clusters auto --limit 3 => expected 4 images or more for --clusters auto, got 3
cluster VAE --method spectral --clusters 7 --limit 5 => got k=7
cluster VAE --method dec --clusters 7 --limit 5 => got k=7
cluster VAE --method ward => 'spectral', 'hdbscan', 'dec'
augment VAE --data unlabelled.npz => augment needs labels
augment VAE --limit 1 => at least 2 latents of every class
augment VAE --method direction => expected --directions with --method direction
augment VAE --directions AE => expected --directions with --method direction
augment VAE --method direction --directions AE => write one with `latentkit directions`
augment VAE --method direction --directions none.safetensors => no directions file
augment VAE --method gaussian --strength 1 => --strength is for --method jitter and direction
augment VAE --method jitter --strength 0 => strength above 0, got 0
augment VAE --method direction --directions AE --strength -1 => expected --strength above 0
augment AE --method jitter => has no prior
augment VAE --method slerp --limit 1 => at least 2 latents of every class
augment VAE --per-class 0 => --per-class of 1 or more, got 0
evaluate factories:decoder --data small.npz => nothing to measure
evaluate VAE --features nonsense => encoder, classifier, inception or package.module:callable
evaluate VAE --features no_such_module:f => expected package.module:callable
evaluate VAE --features factories:number => expected factories:number to be callable
evaluate VAE --features factories:integer => refused
evaluate VAE --features inception => expected torchvision's Inception v3 weights at
evaluate VAE --features classifier --data unlabelled.npz => two labels or more, got 0
evaluate AE --features encoder => has no prior
evaluate DCGAN --features encoder => has no encode
evaluate VAE --samples 1 => --samples of 2 or more, got 1
evaluate VAE --importance-samples 0 => --importance-samples of 1 or more, got 0
sample VAE --out a_file/deep => a_file is a file, not a folder
sample VAE --out a_file => a_file is a file, not a folder
sample VAE --out sheet.jpg => to be a folder or end in
directions VAE --out found.npz => .safetensors
export VAE --out model.pt => ending in .safetensors, got model.pt
report empty_folder --out page.pdf => folder or end in .html, got page.pdf
sample VAE --device abacus => cannot use --device abacus
sample VAE --device meta => cannot use --device meta
report empty_folder => nothing to report in empty_folder
report nowhere => expected a run folder or a folder of results
export nowhere => no model at nowhere
export no_run => in the run folder no_run
export factories:encoder => expected a run folder or a .ckpt to export
"""


@pytest.mark.parametrize(("words", "fragment"), read_table(MISTAKES))
def test_a_mistake_gives_one_clear_line_and_leaves_nothing(typed, place, words, fragment):
    check_mistake(typed, place, words, fragment)


def test_a_bug_is_no_mistake_of_the_user(typed, monkeypatch):
    """Only the errors that this package raises on purpose are shortened to a line."""
    monkeypatch.setattr("latentkit.store.load", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        typed("sample", "vae.safetensors")


def test_the_traceback_can_be_asked_for(typed, monkeypatch):
    monkeypatch.setenv("LATENTKIT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no model at nowhere"):
        typed("sample", "nowhere.safetensors")


def test_stopping_by_hand_is_no_error_message(typed, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentkit.store.load", stop)
    done = typed("sample", "vae.safetensors")
    said = "latentkit: stopped; no file is half written; the same command starts again\n"
    assert (done.code, done.err) == (130, said)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(typed):
    done = typed("sample", "vae.safetensors", "--device", "cuda")
    assert done.code == 2
    assert "cannot use --device cuda" in done.err


def test_a_name_that_is_no_text_is_refused_before_the_work(typed, place):
    done = typed("encode", "vae.safetensors", "--out", "\udcff.npz")
    assert (done.code, list(place.glob("*.npz"))) == (2, [place / "small.npz"])
    assert "expected text in UTF-8" in done.err


def test_a_high_sheet_is_not_enlarged(ok, place):
    ok("sample", "vae.safetensors", "--count", "1000", "--columns", "2", "--out", "high.png")
    with Image.open(place / "high.png") as sheet:
        assert sheet.width < 60
