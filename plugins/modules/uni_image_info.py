#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""List images: one adapter over engine/images."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_image_info
short_description: List the unikernel images of a host
version_added: 0.1.0
description:
  - Lists the images on the host, the newest first.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.info
options:
  name:
    description:
      - Only this image - a name with an optional tag, an id or a digest.
      - One that is not there gives an empty list.
    type: str
seealso:
  - module: uni.engine.uni_image
"""

EXAMPLES = r"""
- name: Which images are there
  uni.engine.uni_image_info:
  register: result

- name: Is this one
  uni.engine.uni_image_info:
    name: web:1.2
  register: web
"""

RETURN = r"""
images:
  description: The images.
  returned: success
  type: list
  elements: dict
  sample:
    - id: sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
      name: web
      tags: ["1.2"]
      size: 1843200
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api


def work(module: Any) -> dict[str, Any]:
    """List the images that the task asks for."""
    root, name = root_of(module), module.params["name"]
    images = api.list_images(root) if name is None else [api.find(root, name)]
    return {"changed": False, "images": [image.to_dict() for image in images if image]}


def main() -> None:
    run_module({"name": {"type": "str"}}, work)


if __name__ == "__main__":
    main()
