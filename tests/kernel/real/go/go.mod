// SPDX-License-Identifier: Apache-2.0
module oracle.invalid/work

go 1.19
