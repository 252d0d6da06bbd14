#!/usr/bin/env bash
# Evaluate a trained linear classifier.
source "$(dirname "${BASH_SOURCE[0]}")/../_task.sh"
