"""DAWN (arXiv 2410.13726): LFG, A2V-FDM and PBNet.

The released code deviates from the paper and has bugs on which its weights depend. Each of these quirks is a setting:
`LFGConfig`, `A2VConfig` and `PBNetConfig` default to the released value (`.reference()`), and `.fixed()` corrects it
for training from scratch:

| what the released code does                            | setting                        | released | fixed      |
| ------------------------------------------------------ | ------------------------------ | -------- | ---------- |
| grids use pixel centres, sampling uses pixel edges     | `LFGConfig.align_corners`      | False    | True       |
| warps black in from beyond the image                   | `LFGConfig.padding`            | zeros    | border     |
| divides by a region's covariance without a floor       | `LFGConfig.covariance_floor`   | 0        | 1e-4       |
| truncates images to whole grey levels                  | `LFGConfig.truncate_pixels`    | True     | False      |
| never trains nor saves the face-mask encoder           | `A2VConfig.mask_encoder`       | seed1234 | trained    |
| scales a face box's x by the height and y by the width | `A2VConfig.swap_mask_axes`     | True     | False      |
| drops the conditions of single frames, not of clips    | `A2VConfig.drop_per_frame`     | True     | False      |
| uses the signal level of the previous timestep         | `A2VConfig.ddim_off_by_one`    | True     | False      |
| divides the whole motion by its 0.9 quantile           | `A2VConfig.threshold`          | sample   | clamp      |
| keeps the noise estimate from before thresholding      | `A2VConfig.stale_noise`        | True     | False      |
| diffuses absolute sampling positions                   | `A2VConfig.residual_flow`      | False    | True       |
| feeds unscaled degrees and pixels to the network       | `A2VConfig.pose_scales`        | 1        | by channel |
| feeds unscaled eye aspect ratios                       | `A2VConfig.eye_scale`          | 1        | 5          |
| passes raw conditions through a SiLU                   | `A2VConfig.silu_on_conditions` | True     | False      |
| uses lip weight 0.15                                   | `A2VConfig.lip_weight`         | 0.15     | 1          |
| adds an error of the motion to the loss                | `A2VConfig.x0_weight`          | 0.15     | 0          |
| rotates 4 of a head's 32 channels by position          | `PBNetConfig.rotary_dim`       | 4        | all        |
| has max instead of min in the KL schedule              | `PBNetConfig.kl_rises`         | False    | True       |
| backpropagates adversarial losses into both networks   | `PBNetConfig.gan_detached`     | False    | True       |
| includes padding in attention, KL and fakes            | `PBNetConfig.mask_padding`     | False    | True       |
| adds a term without gradient                           | `PBNetConfig.reg_weight`       | 0.0005   | 0          |

Dropped from both, since no released result depends on it: a null condition redrawn in every forward pass, a box
modified in place, image sizes limited to 256 by byte indices, gradients that accumulate on the mask encoder, and a
singular value decomposition where a closed form gives the same flow. Kept in both, since they are the architecture:
group norms over all frames, timesteps that exclude the noisiest, and learned biases in addition to rotary positions.
"""
