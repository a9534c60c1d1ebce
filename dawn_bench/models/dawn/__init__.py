"""DAWN (arXiv 2410.13726): LFG, A2V-FDM and PBNet.

The released code differs from the paper, and from what it means to do, in ways that its weights depend on. Each is one
setting with its released value as the default of `LFGConfig`, `A2VConfig` and `PBNetConfig` (`.reference()`), and is
mended by `.fixed()`, the start of every training from scratch:

| what the released code does                            | setting                        | released | fixed      |
| ------------------------------------------------------ | ------------------------------ | -------- | ---------- |
| lays grids to pixels' centres, samples to their edges  | `LFGConfig.align_corners`      | False    | True       |
| divides by a region's covariance without a floor       | `LFGConfig.covariance_floor`   | 0        | 1e-4       |
| cuts pictures to whole grey levels                     | `LFGConfig.truncate_pixels`    | True     | False      |
| never trains nor saves the face-mask encoder           | `A2VConfig.mask_encoder`       | seed1234 | trained    |
| scales a face box's x by the height and y by the width | `A2VConfig.swap_mask_axes`     | True     | False      |
| drops the conditions of single frames, not of clips    | `A2VConfig.drop_per_frame`     | True     | False      |
| steps along the signal level of the timestep before    | `A2VConfig.ddim_off_by_one`    | True     | False      |
| divides the whole motion by its 0.9 quantile           | `A2VConfig.threshold`          | sample   | clamp      |
| keeps the noise when that changes the motion           | `A2VConfig.stale_noise`        | True     | False      |
| diffuses absolute sampling positions                   | `A2VConfig.residual_flow`      | False    | True       |
| gives the network degrees and pixels as they are       | `A2VConfig.pose_scales`        | 1        | by channel |
| gives it eye aspect ratios as they are                 | `A2VConfig.eye_scale`          | 1        | 5          |
| passes raw conditions through a SiLU                   | `A2VConfig.silu_on_conditions` | True     | False      |
| weighs the lips 0.15                                   | `A2VConfig.lip_weight`         | 0.15     | 1          |
| adds an error of the motion to the loss                | `A2VConfig.x0_weight`          | 0.15     | 0          |
| turns 4 of a head's 32 channels by position            | `PBNetConfig.rotary_dim`       | 4        | all        |
| has max for min in the KL term's schedule              | `PBNetConfig.kl_rises`         | False    | True       |
| sends both adversarial losses into both networks       | `PBNetConfig.gan_detached`     | False    | True       |
| lets padding take part in attention, KL and fakes      | `PBNetConfig.mask_padding`     | False    | True       |
| adds a term without gradient                           | `PBNetConfig.reg_weight`       | 0.0005   | 0          |

Not kept in either, since no number of a released result depends on it: a null condition redrawn in every forward pass,
a box changed in place, picture sizes limited to 256 by byte indices, gradients that pile up on the mask encoder, and
a singular value decomposition where a closed form gives the same flow. Kept in both, since they are the architecture:
group norms over all frames, timesteps that leave out the noisiest, learned biases beside the rotary positions.
"""
