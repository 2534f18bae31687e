"""Makes prepared.png of chelsea.png: what Pillow makes of the picture before it is normalised.

    pip install pillow && python make_prepared.py
"""

from PIL import Image

picture = Image.open("chelsea.png").convert("RGB")
scale = 256 / min(picture.size)
width, height = (round(side * scale) for side in picture.size)
picture = picture.resize((width, height), Image.Resampling.BILINEAR)
left, top = (width - 224) // 2, (height - 224) // 2
picture.crop((left, top, left + 224, top + 224)).save("prepared.png", optimize=True)
