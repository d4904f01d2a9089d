"""Every objective from one starting checkpoint: ``radsearch bench objectives``.

``study`` is the experiment: ``plan`` says what is trained, ``tuning`` with which settings, ``figures`` and
``statistics`` compare. ``workbench`` trains and judges one trial on ``sessions``, ``detection`` holds RDRW
against the truth; ``pool`` does several at once, ``store`` keeps what they gave. ``report`` shows it all.
"""
