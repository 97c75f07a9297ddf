"""A clip at any size and rate out of what the network gave: `Rendering`. Each frame of it is, place by place,

    shade(t) * plate(places(t)) + added(t)

plate.py    the photo's own pixels at the clip's size, and around them what the camera comes to see: first the rest of the photo, then
            what the network drew there
motion.py   the places: the motion that the network found for the photo, exact at any time and size
layers.py   shade and what is added, from the generated frames: broad changes of light, and what neither motion nor light explains (snow,
            smoke, flames). Where there is nothing of that, shade is 1, nothing is added, and the frame is the plate alone

Places are as in `trip.model.warp`: x and y from the middle of what the network saw, in halves of its short side.
"""

from trip.render.rendering import Rendering, output_shape

__all__ = ["Rendering", "output_shape"]
