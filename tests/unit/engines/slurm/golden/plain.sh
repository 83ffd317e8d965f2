#!/bin/bash
# gpt: written by headrace; this script turns into the lead of the run.
#SBATCH --job-name=gpt
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --time=04:01:00
#SBATCH --chdir=/
#SBATCH --output=/lustre/ada/runs/gpt-7/batch.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR2@1
#SBATCH --export=ALL

trap '' TERM USR2  # they would end it before the lead can hear them
run=/lustre/ada/runs/gpt-7
export LD_LIBRARY_PATH=/opt/cuda/lib
if [ ! -r "$run/submission.json" ]; then
  echo "headrace: $run cannot be read on $(hostname): is it on a shared file system?" >&2
  exit 78
fi
exec /opt/venv/bin/python -m headrace.engines.slurm.job "$run"
