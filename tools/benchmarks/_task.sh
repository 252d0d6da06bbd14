# The body of the scripts in the folders beside it. A script's folder says what is
# trained or tested, its name how: dist_train*, dist_test* or slurm_train*.
source "$(dirname "${BASH_SOURCE[0]}")/../_launch.sh"

SCRIPT=${BASH_SOURCE[1]}
TASK=$(basename "$(dirname "$SCRIPT")")
NAME=$(basename "$SCRIPT")
CONFIGS=configs/benchmarks/$TASK

case $TASK in
  classification)
    EXAMPLE=moco_r50_linear_in1k RESULT=epoch_100 RATES="8 GPUs with the config's batch"
    ABOUT="\
Each method has a schedule of its own; stages_r50_linear_in1k.py evaluates every stage.
The last accuracy is written to result.json in the work directory."
    ;;
  mmdetection)
    EXAMPLE=faster-rcnn_r50-c4_voc07_frozen RESULT=iter_8000 RATES='8 GPUs with 2 images'
    ABOUT="\
AP, AP50 and AP75 are measured while it trains and at its end, by the 11-point protocol
and by area."
    ;;
  mmsegmentation)
    EXAMPLE=pspnet_r50-d8_voc12aug_frozen RESULT=iter_40000 RATES='4 GPUs with 4 images'
    ABOUT="\
mIoU and pixel accuracy (aAcc) are measured while it trains and at its end."
    export GPUS=${GPUS:-4}
    ;;
esac

PRETRAINED=work_dirs/mocov2_r50_8xb32/epoch_200.pth
TRAINED="\
CKPT is a pretraining checkpoint, or another file with a backbone's weights and then
--prefix; one that does not fit is rejected. Learning rates are for
$RATES each; for another number add --auto-scale-lr.
$ABOUT"

usage() {
  sed -n '2s/^# //p' "$SCRIPT"
  echo
  case $NAME in
    dist_train*)
      cat <<HELP
usage: bash tools/benchmarks/$TASK/$NAME CONFIG CKPT GPUS
           [arguments of tools/train.py]

$TRAINED
Variables are those of tools/dist_train.sh.

example:
  bash tools/benchmarks/$TASK/$NAME \\
      $CONFIGS/$EXAMPLE.py \\
      $PRETRAINED 8 \\
      --auto-scale-lr --seed 1 --work-dir work_dirs/seed1
HELP
      ;;
    dist_test*)
      cat <<HELP
usage: bash tools/benchmarks/$TASK/$NAME CONFIG CKPT GPUS
           [arguments of tools/test.py]

CKPT is what ${NAME/test/train} saved, not a pretraining checkpoint.
Variables are those of tools/dist_test.sh.

example:
  bash tools/benchmarks/$TASK/$NAME \\
      $CONFIGS/$EXAMPLE.py \\
      work_dirs/$EXAMPLE/$RESULT.pth 8 --out result.json
HELP
      ;;
    slurm_train*)
      cat <<HELP
usage: bash tools/benchmarks/$TASK/$NAME PARTITION JOB_NAME CONFIG CKPT
           [arguments of tools/train.py]

$TRAINED
Variables are those of tools/slurm_train.sh; by default as many GPUs as above.

example:
  bash tools/benchmarks/$TASK/$NAME gpu job \\
      $CONFIGS/$EXAMPLE.py \\
      $PRETRAINED
HELP
      ;;
  esac
}

case $NAME in
  dist_train*)
    explain 3 "$@"
    exec bash "$TOOLS/dist_train.sh" "$1" "$3" --pretrained "$2" "${@:4}"
    ;;
  dist_test*)
    explain 3 "$@"
    exec bash "$TOOLS/dist_test.sh" "$@"
    ;;
  slurm_train*)
    explain 4 "$@"
    exec bash "$TOOLS/slurm_train.sh" "$1" "$2" "$3" --pretrained "$4" "${@:5}"
    ;;
esac
